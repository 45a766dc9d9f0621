"""A model of the server store: how many workers it feeds, from what one window costs.

The rate of W workers is the least of

    W / (compute + a worker's own time)       workers are the limit
    1 / (a shard's time for its part)         a shard is the limit
    cores / (all processes' time)             the machine is the limit

and on a cluster, where every process has a core of its own, of the first two and of what the
dispatcher can grant. Each time has a fixed part and a part for every byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

NETWORK_BYTES_PER_S = 25e9 / 8
_MOST_SHARDS = 1024
_NEARLY = 1.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Use:
    """CPU seconds of processes, and windows trained."""

    windows: float
    shard: float
    """The busiest shard's"""
    shards: float
    worker: float
    dispatcher: float
    machine: float
    """Of all processes, Ray's own too"""
    seconds: float

    def a_window(self) -> Use:
        """Return what one window takes."""
        n = self.windows
        return Use(
            windows=1,
            shard=self.shard / n,
            shards=self.shards / n,
            worker=self.worker / n,
            dispatcher=self.dispatcher / n,
            machine=self.machine / n,
            seconds=self.seconds / n,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A cost that grows with bytes."""

    fixed_s: float
    s_per_byte: float

    def __call__(self, size: float) -> float:
        return self.fixed_s + self.s_per_byte * size


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """What one window costs, by its bytes pulled and pushed."""

    shard: Line
    """One shard's time for its part of a window"""
    worker: Line
    machine: Line
    """All processes' time, on one machine"""
    dispatcher_s: float

    @classmethod
    def fit(cls, alone: Mapping[float, Use]) -> Model:
        """Return the model of a lone worker's windows, by their bytes pulled and pushed."""
        return cls(
            shard=_line({size: use.shard for size, use in alone.items()}),
            worker=_line({size: use.worker for size, use in alone.items()}),
            machine=_line({size: use.machine for size, use in alone.items()}),
            dispatcher_s=float(np.mean([use.dispatcher for use in alone.values()])),
        )

    def rate(
        self, size: float, *, workers: int, shards: int, compute_s: float, cores: int
    ) -> float:
        """Return windows/s on one machine."""
        more_calls = (shards - 1) * self.shard.fixed_s
        return min(
            workers / (compute_s + self.worker(size)),
            1 / self.shard(size / shards),
            cores / (self.machine(size) + more_calls),
        )

    def shard_s(self, size: float, shards: int) -> float:
        """Return how long a window keeps a shard, or its network (both ways at once), busy."""
        return max(self.shard(size / shards), size / 2 / shards / NETWORK_BYTES_PER_S)

    def cluster(self, size: float, *, workers: int, compute_s: float) -> Cluster:
        """Return what it takes to feed workers that each have a core of their own."""
        wanted = workers / (compute_s + self.worker(size))
        shards = self._shards_for(size, wanted)
        limits = {
            "shard calls": 1 / self.shard_s(size, shards),
            "dispatcher": 1 / self.dispatcher_s,
            "workers": wanted,
        }
        limit = min(limits, key=lambda name: limits[name])
        return Cluster(wanted=wanted, shards=shards, limit=limit, fed=limits[limit] / wanted)

    def _shards_for(self, size: float, wanted: float) -> int:
        """Return the fewest shards that serve so many windows/s, or that more hardly help."""
        numbers = range(1, _MOST_SHARDS + 1)
        least = self.shard_s(size, _MOST_SHARDS)
        enough = (n for n in numbers if 1 / self.shard_s(size, n) >= wanted)
        nearly = (n for n in numbers if self.shard_s(size, n) <= _NEARLY * least)
        return next(enough, next(nearly))


@dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """A cluster as the model sees it."""

    wanted: float
    """Windows/s that its workers could train"""
    shards: int
    limit: str
    fed: float
    """Share of ``wanted`` that they get"""


def _line(points: Mapping[float, float]) -> Line:
    slope, fixed = np.polyfit(list(points), list(points.values()), 1)
    return Line(fixed_s=max(float(fixed), 0.0), s_per_byte=max(float(slope), 0.0))
