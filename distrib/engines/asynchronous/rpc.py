"""Calls between actors: replies, lost servers, and clients of the dispatcher and the shards."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import ActorDiedError, RayError, RayTaskError

from distrib.engines.asynchronous.leases import Answer, Hold, Lease, Staleness
from distrib.engines.asynchronous.messages import PushReply, Report
from distrib.errors import TrialFailed
from distrib.parameter_store.layout import Route
from distrib.parameter_store.shard import Parameters, Pulled, Push, Version
from distrib.training.windows import Prepared, Windows
from recsys.cost import LookupCounter, sampling_interval
from recsys.data.stream import Stream
from recsys.errors import ConfigError, DataError

ANSWER_S = 300.0
"""An actor that takes longer to answer is treated as dead"""


class ServersLost(Exception):
    """A dispatcher or a shard has crashed; its state is lost."""


def answer(reply: Any, limit_s: float = ANSWER_S) -> Any:
    """Wait for a reply.

    Raises:
        RayTaskError: the actor raised an error.
        ServersLost: the actor has crashed, or does not reply within the limit.
    """
    try:
        return ray.get(reply, timeout=limit_s)
    except RayTaskError:
        raise
    except RayError as error:
        raise ServersLost(reason(error)) from error


def reason(error: BaseException) -> str:
    """Return an error as one line, without Ray's wrapper."""
    found = str(error)
    if isinstance(error, RayTaskError):
        cause = error.cause
        is_told = isinstance(cause, ConfigError | DataError | TrialFailed)
        found = str(cause) if is_told else f"{type(cause).__name__}: {cause}"
    elif isinstance(error, ActorDiedError) and error.actor_init_failed:
        found = found.strip().splitlines()[-1]  # the end of a traceback
    return " ".join(found.split())


_ASK_AGAIN_S = (0.002, 0.05)
"""First and longest pause of a worker that is told to hold"""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerContext:
    """A worker's name, and its pass over the stream."""

    name: str
    stream: Stream
    windows: Windows
    heartbeat_s: float
    """Seconds between signs of life"""
    counts_examples: bool
    """False if another phase counts the same examples"""

    def lookup_counter(self, window: int) -> LookupCounter:
        """Return a counter for a window; distinct rows are counted in a sample of windows."""
        every = sampling_interval(len(self.windows))
        return LookupCounter(self.windows.length if window % every == 0 else None)


class DispatcherClient:
    """A worker's client of the dispatcher. Calls raise Ray's errors if it has crashed."""

    def __init__(self, post: WorkerContext, dispatcher: Any) -> None:
        self._name = post.name
        self._heartbeat_s = post.heartbeat_s
        self._dispatcher = dispatcher
        self._heartbeat_at = time.monotonic()
        self._waited_s = 0.0

    def ask(self) -> Any:
        """Request a window; does not wait."""
        return self._dispatcher.next.remote(self._name)

    def granted(self, asked: Any) -> Lease | None:
        """Return the reply to ``ask`` if it is a lease."""
        found: Answer = ray.get(asked)
        return found if isinstance(found, Lease) else None

    def wait(self) -> Lease | None:
        """Request windows until one is granted; None at the end of the pass."""
        started = time.perf_counter()
        pause, longest = _ASK_AGAIN_S
        while isinstance(answer := ray.get(self.ask()), Hold):
            time.sleep(pause)
            pause = min(2 * pause, longest)
        self._waited_s += time.perf_counter() - started
        return answer if isinstance(answer, Lease) else None

    def take_waited_s(self) -> float:
        """Return the seconds spent in ``wait`` since the last call."""
        waited, self._waited_s = self._waited_s, 0.0
        return waited

    def complete(self, report: Report) -> None:
        """Report an applied window; does not wait."""
        self._dispatcher.complete.remote(report)

    def not_finite(self, lease: Lease, what: str) -> None:
        """Report a window that must not be applied; does not wait."""
        self._dispatcher.not_finite.remote(lease, what)

    def heartbeat(self) -> None:
        """Send a heartbeat if one is due."""
        now = time.monotonic()
        if now - self._heartbeat_at > self._heartbeat_s:
            self._heartbeat_at = now
            self._dispatcher.heartbeat.remote(self._name)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pulling:
    """A pull in progress."""

    lease: Lease
    prepared: Prepared
    route: Route
    replies: tuple[Any, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pushing:
    """A push in progress, with its content."""

    pulling: Pulling
    change: Parameters
    replies: tuple[Any, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pushed:
    """A push that all shards replied to."""

    staleness: tuple[Staleness, ...]
    """Of the shards that had not taken the window before"""
    shard_s: float
    """CPU time of all shards since they answered the last push, anybody's"""


class StoreClient:
    """Pulls and pushes windows of one replica."""

    def __init__(self, shards: Sequence[Any]) -> None:
        self._shards = shards

    def pull(self, lease: Lease, prepared: Prepared) -> Pulling:
        """Request a window's rows from all shards; does not wait."""
        route = Route.of(prepared.rows[0], len(self._shards))
        return Pulling(
            lease=lease,
            prepared=prepared,
            route=route,
            replies=tuple(
                shard.pull.remote(rows, lease.window, lease.number)
                for shard, rows in zip(self._shards, route.rows, strict=True)
            ),
        )

    def has_arrived(self, pulling: Pulling) -> bool:
        """Return whether ``pulled`` would return immediately."""
        replies = list(pulling.replies)
        here, _ = ray.wait(replies, num_returns=len(replies), timeout=0)
        return len(here) == len(replies)

    def pulled(self, pulling: Pulling) -> tuple[Parameters, list[Version]]:
        """Wait for a pull; return a copy, and each shard's version."""
        replies: list[Pulled] = ray.get(list(pulling.replies))
        parameters = pulling.route.join([reply.parameters for reply in replies])
        return parameters, [reply.version for reply in replies]

    def push(
        self,
        pulling: Pulling,
        change: Parameters,
        since: Sequence[Version],
        carried: Lease | None,
    ) -> Pushing:
        """Send a window's delta to all shards; does not wait."""
        replies = []
        for shard in range(len(self._shards)):
            push = Push(
                window=pulling.lease.window,
                lease=pulling.lease.number,
                examples=pulling.prepared.examples,
                since=since[shard],
                carried=None if carried is None else (carried.window, carried.number),
            )
            replies.append(self._push_to(shard, push, pulling.route, change))
        return Pushing(pulling=pulling, change=change, replies=tuple(replies))

    def pushed(self, pushing: Pushing) -> Pushed:
        """Wait for a push; return the shards' replies."""
        answers: list[PushReply] = ray.get(list(pushing.replies))
        return Pushed(
            staleness=tuple(each.staleness for each in answers if each.staleness is not None),
            shard_s=sum(each.cpu_s for each in answers),
        )

    def _push_to(self, shard: int, push: Push, route: Route, change: Parameters) -> Any:
        part = route.part(change, shard)
        return self._shards[shard].push.remote(push, route.rows[shard], part)
