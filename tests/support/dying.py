"""Workers that die where a test wants them to, and a hand that kills actors from outside."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray

from distrib.async_engine.client import StoreClient
from distrib.async_engine.messages import Servers
from distrib.async_engine.worker import Worker


def worker_that_dies_between_shards(place: Path, windows: frozenset[int]) -> type[Worker]:
    """Return a worker that, once for each window, dies after the first shard took its push."""

    class Client(StoreClient):
        def _push_to(self, shard: int, push: Any, route: Any, change: Any) -> Any:
            marker = place / str(push.window)
            if shard == 1 and push.window in windows and not marker.exists():
                marker.touch()
                ray.get(self._first)
                os.kill(os.getpid(), signal.SIGKILL)
            self._first = super()._push_to(shard, push, route, change)
            return self._first

    class Dying(Worker):
        def make_client(self, servers: Servers) -> StoreClient:
            return Client(servers.shards)

    return Dying


def slow_worker(seconds: float, place: Path) -> type[Worker]:
    """Return a worker whose every push takes a while, so that there is time to be killed.

    It leaves its process number in ``place`` when it begins to work.
    """

    class Client(StoreClient):
        def _push_to(self, shard: int, push: Any, route: Any, change: Any) -> Any:
            time.sleep(seconds)
            return super()._push_to(shard, push, route, change)

    class Slow(Worker):
        def make_client(self, servers: Servers) -> StoreClient:
            (place / str(os.getpid())).touch()
            return Client(servers.shards)

    return Slow


def workers_alive(place: Path) -> list[int]:
    """Return the processes of the slow workers that live."""
    pids = sorted(int(path.name) for path in place.iterdir())
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def servers_alive(part: str) -> list[int]:
    """Return the processes of the living actors of a training that are called ``part``."""
    found = []
    for each in ray.util.list_named_actors(all_namespaces=True):
        if each["name"].startswith("soloist-") and each["name"].endswith(f"/{part}"):
            actor = ray.get_actor(each["name"], namespace=each["namespace"])
            found.append(ray.get(actor.pid.remote()))
    return found


def in_background(function: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Start a function in a thread; the list gets its result, or its exception."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(function())
        except BaseException as error:  # the test looks at it
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, outcome
