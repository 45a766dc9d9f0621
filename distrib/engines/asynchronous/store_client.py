"""A worker's side of the store: what goes to which shard, and what comes back put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray

from distrib.engines.asynchronous.leases import Lease, Staleness
from distrib.engines.asynchronous.messages import PushReply
from distrib.parameter_store.parameters import Parameters
from distrib.parameter_store.row_routing import Route
from distrib.parameter_store.shard import Pulled, Push, Version
from distrib.training.windows import Prepared


@dataclass(frozen=True, kw_only=True, slots=True)
class Pulling:
    """A pull under way."""

    lease: Lease
    prepared: Prepared
    route: Route
    replies: tuple[Any, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pushing:
    """A push under way, and what it brings."""

    pulling: Pulling
    change: Parameters
    replies: tuple[Any, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pushed:
    """A push that all shards answered."""

    staleness: tuple[Staleness, ...]
    """Of the shards that had not taken the window before"""
    shard_s: float
    """CPU time of all shards since they answered the last push, anybody's"""


class StoreClient:
    """Pulls and pushes windows of one replica."""

    def __init__(self, shards: Sequence[Any]) -> None:
        self._shards = shards

    def pull(self, lease: Lease, prepared: Prepared) -> Pulling:
        """Ask all shards for what a window needs; returns at once."""
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
        """Tell whether ``pulled`` would return at once."""
        replies = list(pulling.replies)
        here, _ = ray.wait(replies, num_returns=len(replies), timeout=0)
        return len(here) == len(replies)

    def pulled(self, pulling: Pulling) -> tuple[Parameters, list[Version]]:
        """Wait for a pull; return memory of one's own, and each shard's version."""
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
        """Send a window's change to all shards; returns at once."""
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
        """Wait for a push; return what the shards told."""
        answers: list[PushReply] = ray.get(list(pushing.replies))
        return Pushed(
            staleness=tuple(each.staleness for each in answers if each.staleness is not None),
            shard_s=sum(each.cpu_s for each in answers),
        )

    def _push_to(self, shard: int, push: Push, route: Route, change: Parameters) -> Any:
        part = route.part(change, shard)
        return self._shards[shard].push.remote(push, route.rows[shard], part)
