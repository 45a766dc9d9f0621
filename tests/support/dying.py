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

from distrib.async_engine.client import Pulling, StoreClient
from distrib.async_engine.messages import Servers
from distrib.async_engine.worker import Worker
from distrib.store.parameters import Parameters
from distrib.store.shard import Version


def disturbed_worker(place: Path, *, dies_in: int, gets_nan_in: int) -> type[Worker]:
    """Return a worker that has bad luck in two windows, in each the first time.

    Args:
        place: where it remembers what has happened.
        dies_in: window in which it dies after the first shard took its push.
        gets_nan_in: window for which it finds NaN in what it pulled.
    """

    class Client(StoreClient):
        def _push_to(self, shard: int, push: Any, route: Any, change: Any) -> Any:
            if shard == 1 and push.window == dies_in and _happens(place / "died"):
                ray.get(self._first)
                os.kill(os.getpid(), signal.SIGKILL)
            self._first = super()._push_to(shard, push, route, change)
            return self._first

        def pulled(self, pulling: Pulling) -> tuple[Parameters, list[Version]]:
            parameters, since = super().pulled(pulling)
            if pulling.lease.window == gets_nan_in and _happens(place / "got NaN"):
                parameters.dense[:] = float("nan")
            return parameters, since

    class Disturbed(Worker):
        def make_client(self, servers: Servers) -> StoreClient:
            return Client(servers.shards)

    return Disturbed


def _happens(marker: Path) -> bool:
    """Tell whether this is the first time."""
    if marker.exists():
        return False
    marker.touch()
    return True


def worker_whose_push_is_late(place: Path, window: int) -> type[Worker]:
    """Return a worker that holds one push back until another's of that window is on all shards."""

    class Client(StoreClient):
        def _push_to(self, shard: int, push: Any, route: Any, change: Any) -> Any:
            if push.window == window and _happens(place / "late"):
                while not all(self._has(each, window) for each in self._shards):
                    time.sleep(0.05)
            return super()._push_to(shard, push, route, change)

        def _has(self, shard: Any, window: int) -> bool:
            order = ray.get(shard.order.remote())
            return any(each.applied and each.window == window for each in order)

    class Late(Worker):
        def make_client(self, servers: Servers) -> StoreClient:
            return Client(servers.shards)

    return Late


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
