"""Which shard has which of a window's rows, and how a worker's own delta is routed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distrib.parameter_store.parameters import Parameters, Rows, dense_span, rows_by_shard


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """Where the rows of a window lie.

    ``window`` has the rows of each slab, distinct and ascending.
    """

    window: tuple[Rows, ...]
    places: tuple[tuple[Rows, ...], ...]
    """For each shard, for each slab: positions among the window's rows"""
    rows: tuple[tuple[Rows, ...], ...]
    """For each shard, for each slab: the rows' numbers there"""

    @classmethod
    def of(cls, window: tuple[Rows, ...], shards: int) -> Route:
        """Return the route of a window's rows to S shards."""
        by_slab = [rows_by_shard(rows, shards) for rows in window]
        places = tuple(tuple(slab[shard] for slab in by_slab) for shard in range(shards))
        numbers = tuple(
            tuple(rows[at] // shards for rows, at in zip(window, each, strict=True))
            for each in places
        )
        return cls(window=window, places=places, rows=numbers)

    def part(self, change: Parameters, shard: int) -> Parameters:
        """Return what of a window's change goes to a shard."""
        shards = len(self.places)
        if shards == 1:
            return change
        first, last = dense_span(change.dense.shape[1], shard, shards)
        return Parameters(
            slabs=tuple(
                slab[at] for slab, at in zip(change.slabs, self.places[shard], strict=True)
            ),
            dense=change.dense[:, first:last],
        )

    def join(self, parts: Sequence[Parameters]) -> Parameters:
        """Return the parameters of a window from those of all shards, in memory of their own."""
        slabs = []
        for slab, rows in enumerate(self.window):
            whole = np.empty((len(rows), parts[0].slabs[slab].shape[1]), np.float32)
            if len(parts) == 1:
                whole[:] = parts[0].slabs[slab]
            else:
                for part, places in zip(parts, self.places, strict=True):
                    whole[places[slab]] = part.slabs[slab]
            slabs.append(whole)
        return Parameters(
            slabs=tuple(slabs), dense=np.concatenate([part.dense for part in parts], axis=1)
        )


Shared = tuple[tuple[Rows, Rows], ...]
"""For each slab, where the rows of two windows that both touch stand in the one and the other."""


def shared_rows(route: Route, other: Route) -> Shared:
    """Return where the rows that two windows both touch stand among each one's."""
    found = []
    for rows, theirs in zip(route.window, other.window, strict=True):
        places = np.searchsorted(rows, theirs)
        if len(rows):
            np.minimum(places, len(rows) - 1, out=places)
            both = np.flatnonzero(rows[places] == theirs)
        else:
            both = np.empty(0, np.int64)
        found.append((places[both], both))
    return tuple(found)


def apply_own_delta(target: Parameters, route: Route, change: Parameters, changed: Route) -> None:
    """Add one's own change, still on its way, to what was pulled before a shard had it.

    The same addition in the same precision as the shard's, so the result is the same.
    """
    for values, by, (to, at) in zip(
        target.slabs, change.slabs, shared_rows(route, changed), strict=True
    ):
        values[to] += by[at]
    target.dense[:] += change.dense
