"""Workers and shards that die, hang or are late where a test wants them to; who lives."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError

from distrib.engines.asynchronous.messages import PushReply, Servers
from distrib.engines.asynchronous.rpc import Pulling, StoreClient
from distrib.engines.asynchronous.worker import Worker
from distrib.parameter_store.shard import Parameters, ShardServer, Version
from distrib.scheduling.processes import own_name
from tests.support.patience import wait_until
from tests.support.signed import file_of, sign


def disturbed_worker(place: Path, *, dies_in: int, gets_nan_in: int) -> type[Worker]:
    """Return a worker that has bad luck in two windows, in each the first time.

    Args:
        place: where it remembers what has happened, in ``died``, and in ``got NaN`` the lease.
        dies_in: window in which it dies after the first shard took its push.
        gets_nan_in: window for which it finds NaN in what it pulled.
    """

    class Client(StoreClient):
        def _push_to(self, shard: int, push: Any, route: Any, change: Any) -> Any:
            if shard == 1 and push.window == dies_in and sign(place / "died"):
                ray.get(self._first)
                os.kill(os.getpid(), signal.SIGKILL)
            self._first = super()._push_to(shard, push, route, change)
            return self._first

        def pulled(self, pulling: Pulling) -> tuple[Parameters, list[Version]]:
            parameters, since = super().pulled(pulling)
            marker, lease = place / "got NaN", pulling.lease
            if lease.window == gets_nan_in and not marker.exists():
                marker.write_text(str(lease.number))
                parameters.dense[:] = float("nan")
            return parameters, since

    class Disturbed(Worker):
        def make_client(self, servers: Servers) -> StoreClient:
            return Client(servers.shards)

    return Disturbed


def worker_whose_push_is_late(place: Path, window: int, last: int) -> type[Worker]:
    """Return a worker that holds one push back until another's of that window is on all shards.

    The last window is not pushed before the late push was answered, so that there are shards then.
    """

    class Client(StoreClient):
        _is_late = False

        def _push_to(self, shard: int, push: Any, route: Any, change: Any) -> Any:
            if push.window == window and shard == 0 and sign(place / "late"):
                self._is_late = True
                wait_until(lambda: all(self._has(each, window) for each in self._shards))
            if push.window == last and not self._is_late:
                wait_until((place / "answered").exists)
            reply = super()._push_to(shard, push, route, change)
            if self._is_late and push.window == window and shard == len(self._shards) - 1:
                ray.get(reply)
                (place / "answered").touch()
            return reply

        def _has(self, shard: Any, window: int) -> bool:
            order = ray.get(shard.order.remote())
            return any(each.applied and each.window == window for each in order)

    class Late(Worker):
        def make_client(self, servers: Servers) -> StoreClient:
            return Client(servers.shards)

    return Late


def slow_worker(seconds: float, place: Path) -> type[Worker]:
    """Return a worker whose every push takes a while, so that there is time to be killed.

    It leaves a file of its own in ``place`` when it begins to work.
    """

    class Client(StoreClient):
        def _push_to(self, shard: int, push: Any, route: Any, change: Any) -> Any:
            time.sleep(seconds)
            return super()._push_to(shard, push, route, change)

    class Slow(Worker):
        def make_client(self, servers: Servers) -> StoreClient:
            file_of(own_name(), place).touch()
            return Client(servers.shards)

    return Slow


def worker_that_hangs(window: int, marker: Path) -> type[Worker]:
    """Return a worker that signs and hangs, once, between its pushes of a window to two shards."""

    class Client(StoreClient):
        def _push_to(self, shard: int, push: Any, route: Any, change: Any) -> Any:
            if shard == 1 and push.window == window:
                _hang_once(marker)
            return super()._push_to(shard, push, route, change)

    class Hanging(Worker):
        def make_client(self, servers: Servers) -> StoreClient:
            return Client(servers.shards)

    return Hanging


def shard_that_hangs(window: int, marker: Path) -> type[ShardServer]:
    """Return a shard of which one signs and hangs, once, when it is to take a window."""

    class Hanging(ShardServer):
        def push(self, push: Any, rows: Any, change: Any) -> PushReply:
            if push.window == window:
                _hang_once(marker)
            return super().push(push, rows, change)

    return Hanging


def _hang_once(marker: Path) -> None:
    if sign(marker):
        os.kill(os.getpid(), signal.SIGSTOP)


def server_alive(part: str) -> int:
    """Wait for the actor of a training that is called ``part``; return its process."""
    found: list[int] = []

    def looks() -> bool:
        for each in ray.util.list_named_actors(all_namespaces=True):
            if each["name"].startswith("soloist-") and each["name"].endswith(f"/{part}"):
                with suppress(ValueError, RayActorError):  # it has just ended
                    actor = ray.get_actor(each["name"], namespace=each["namespace"])
                    found.append(ray.get(actor.pid.remote()))
        return bool(found)

    wait_until(looks)
    return found[0]


def in_background(function: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Start a function in a thread; the list gets its result, or its exception."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(function())
        except BaseException as error:  # the test looks at it
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, outcome
