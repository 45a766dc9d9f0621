"""A worker's side of the store: what goes to which shard, and what comes back put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray

from distrib.leases import Lease
from distrib.staleness import Staleness
from distrib.store.parameters import Parameters, Rows, dense_span, rows_by_shard
from distrib.store.shard import Pulled, Push, Version
from distrib.window_trainer import Prepared


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """Where the rows of a prepared window lie."""

    places: tuple[tuple[Rows, ...], ...]
    """For each shard, for each slab: positions among the window's rows"""
    rows: tuple[tuple[Rows, ...], ...]
    """For each shard, for each slab: the rows' numbers there"""


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


class StoreClient:
    """Pulls and pushes windows of one replica."""

    def __init__(self, shards: Sequence[Any]) -> None:
        self._shards = shards

    def pull(self, lease: Lease, prepared: Prepared) -> Pulling:
        """Ask all shards for what a window needs; returns at once."""
        route = self._route(prepared)
        return Pulling(
            lease=lease,
            prepared=prepared,
            route=route,
            replies=tuple(
                shard.pull.remote(rows, lease.window, lease.number)
                for shard, rows in zip(self._shards, route.rows, strict=True)
            ),
        )

    def pulled(self, pulling: Pulling) -> tuple[Parameters, list[Version]]:
        """Wait for a pull; return memory of one's own, and each shard's version."""
        replies: list[Pulled] = ray.get(list(pulling.replies))
        parts = [reply.parameters for reply in replies]
        slabs = []
        for slab, rows in enumerate(pulling.prepared.rows[0]):
            whole = np.empty((len(rows), parts[0].slabs[slab].shape[1]), np.float32)
            for part, places in zip(parts, pulling.route.places, strict=True):
                whole[places[slab]] = part.slabs[slab]
            slabs.append(whole)
        dense = np.concatenate([part.dense for part in parts], axis=1)
        return (
            Parameters(slabs=tuple(slabs), dense=dense),
            [reply.version for reply in replies],
        )

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

    def pushed(self, pushing: Pushing) -> tuple[Staleness, ...]:
        """Wait for a push; return what the shards that took it told."""
        told: list[Staleness | None] = ray.get(list(pushing.replies))
        return tuple(each for each in told if each is not None)

    def _push_to(self, shard: int, push: Push, route: Route, change: Parameters) -> Any:
        first, last = dense_span(change.dense.shape[1], shard, len(self._shards))
        part = Parameters(
            slabs=tuple(
                slab[places] for slab, places in zip(change.slabs, route.places[shard], strict=True)
            ),
            dense=change.dense[:, first:last],
        )
        return self._shards[shard].push.remote(push, route.rows[shard], part)

    def _route(self, prepared: Prepared) -> Route:
        shards = len(self._shards)
        by_slab = [rows_by_shard(rows, shards) for rows in prepared.rows[0]]
        places = tuple(tuple(slab[shard] for slab in by_slab) for shard in range(shards))
        return Route(
            places=places,
            rows=tuple(
                tuple(rows[at] // shards for rows, at in zip(prepared.rows[0], each, strict=True))
                for each in places
            ),
        )


def carry(target: Parameters, window: Prepared, change: Parameters, changed: Prepared) -> None:
    """Add one's own change, still on its way, to what was pulled before a shard had it.

    The same addition in the same precision as the shard's, so the result is the same.
    """
    for values, rows, by, at in zip(
        target.slabs, window.rows[0], change.slabs, changed.rows[0], strict=True
    ):
        if not len(rows):
            continue
        places = np.minimum(np.searchsorted(rows, at), len(rows) - 1)
        shared = rows[places] == at
        values[places[shared]] += by[shared]
    target.dense[:] += change.dense
