"""The lease ledger: which worker has which window, expiry, bounded staleness. No clock, no Ray."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Staleness:
    """Of one push to one shard, or of one batch in shared memory."""

    updates: int
    """Windows of others, or batches in shared memory"""
    examples: int


@dataclass(slots=True)
class StalenessHistogram:
    """Counts by staleness."""

    updates: Counter[int] = field(default_factory=Counter)
    examples: Counter[int] = field(default_factory=Counter)

    def add(self, seen: Iterable[Staleness]) -> None:
        for each in seen:
            self.updates[each.updates] += 1
            self.examples[each.examples] += 1

    def merge(self, other: StalenessHistogram) -> None:
        """Add the counts of another histogram."""
        self.updates.update(other.updates)
        self.examples.update(other.examples)

    def as_dict(self) -> dict[str, Any]:
        """Return the content of ``staleness.json``: mean, maximum and histogram of each unit."""
        return {"updates": _summary(self.updates), "examples": _summary(self.examples)}


def _summary(histogram: Counter[int]) -> dict[str, Any]:
    pushes = sum(histogram.values())
    return {
        "pushes": pushes,
        "mean": sum(value * count for value, count in histogram.items()) / max(pushes, 1),
        "max": max(histogram, default=0),
        "histogram": {str(value): histogram[value] for value in sorted(histogram)},
    }


ATTEMPTS = 2
"""A window whose training gave NaN or infinity is tried this often in all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """The exclusive right of a worker to train one window."""

    number: int
    """No two leases have the same, though they may be for one window"""
    window: int
    worker: str


@dataclass(frozen=True, slots=True)
class Hold:
    """Nothing can be granted now; retry."""


@dataclass(frozen=True, slots=True)
class Finished:
    """Every window is applied."""


Answer = Lease | Hold | Finished


@dataclass(slots=True)
class _Outstanding:
    lease: Lease
    expires_at: float
    exposure: int = 0
    """Windows that others have had applied since it was granted"""


@dataclass(slots=True)
class Ledger:
    """The state of all windows: applied, leased, remaining.

    Args:
        windows: number of windows.
        lease_s: duration of a lease without a heartbeat.
        max_staleness: maximum number of other workers' windows applied between a pull and its push;
            None: unbounded; 0: sequential.
        warm_up: number of first windows that are trained sequentially.
        start_with: number of workers that must have asked before the first window is granted.
        applied: windows that are already applied, after a recovery.
        leases: number of leases granted before.
        needs_confirmed_exit: whether the window of an unresponsive worker is granted again only
            after its exit is confirmed, because it could still change parameters.
        cut: no window from this one on is granted before all earlier ones are applied, so that all
            shards reach the same state. None: no cut.
    """

    windows: int
    lease_s: float = float("inf")
    max_staleness: int | None = None
    warm_up: int = 0
    start_with: int = 1
    applied: set[int] = field(default_factory=set)
    cut: int | None = None
    leases: int = 0
    needs_confirmed_exit: bool = False
    _next: int = 0
    _known_workers: set[str] = field(default_factory=set)
    """Who asked before the first grant"""
    _has_started: bool = False
    _returned: list[int] = field(default_factory=list)
    _outstanding: dict[int, _Outstanding] = field(default_factory=dict)
    _failures: dict[int, int] = field(default_factory=dict)

    @property
    def is_finished(self) -> bool:
        return len(self.applied) == self.windows

    @property
    def outstanding(self) -> list[Lease]:
        return [each.lease for each in self._outstanding.values()]

    @property
    def at_cut(self) -> bool:
        """Return whether exactly the windows before the cut are applied."""
        return self.cut is not None and len(self.applied) == self.cut

    def grant(self, worker: str, now: float) -> Answer:
        """Return a lease on the first window that may be trained now."""
        if self.is_finished:
            return Finished()
        if not self._may_start(worker):
            return Hold()
        window = self._first_free()
        if window is None or not self._keeps_bounds(worker):
            return Hold()
        if self._returned and self._returned[0] == window:
            heapq.heappop(self._returned)
        else:
            self._next = window + 1
        lease = Lease(number=self.leases, window=window, worker=worker)
        self.leases += 1
        self._outstanding[lease.number] = _Outstanding(lease, now + self.lease_s)
        return lease

    def renew(self, worker: str, now: float) -> None:
        """Renew all leases of a worker, on its heartbeat."""
        for each in self._outstanding.values():
            if each.lease.worker == worker:
                each.expires_at = now + self.lease_s

    def complete(self, lease: Lease) -> bool:
        """Record that all shards applied the window; False if already recorded."""
        self._outstanding.pop(lease.number, None)
        if lease.window in self.applied:
            return False
        self.applied.add(lease.window)
        for each in self._outstanding.values():
            if each.lease.worker != lease.worker:
                each.exposure += 1
        return True

    def release(self, lease: Lease) -> None:
        """Release a lease whose window its worker will not train."""
        if self._outstanding.pop(lease.number, None) is not None:
            heapq.heappush(self._returned, lease.window)

    def fail(self, lease: Lease) -> bool:
        """Record NaN or infinity in a window; False if the retries are used up."""
        failures = self._failures.get(lease.window, 0) + 1
        self._failures[lease.window] = failures
        self.release(lease)
        return failures < ATTEMPTS

    def expire(self, now: float) -> list[Lease]:
        """Return leases of unresponsive workers; revoked unless exit must be confirmed first."""
        silent = [each.lease for each in self._outstanding.values() if each.expires_at <= now]
        if not self.needs_confirmed_exit:
            for lease in silent:
                self.release(lease)
        return silent

    def mark_dead(self, workers: Iterable[str]) -> list[Lease]:
        """Revoke and return the leases of workers that are known to be dead."""
        dead = set(workers)
        self._known_workers -= dead
        lost = [lease for lease in self.outstanding if lease.worker in dead]
        for lease in lost:
            self.release(lease)
        return lost

    def _may_start(self, worker: str) -> bool:
        if not self._has_started:
            self._known_workers.add(worker)
            self._has_started = len(self._known_workers) >= self.start_with
        return self._has_started

    def _first_free(self) -> int | None:
        while self._returned and self._returned[0] in self.applied:
            heapq.heappop(self._returned)
        if self._returned:
            return self._returned[0]
        while self._next in self.applied:
            self._next += 1
        if self._next >= self.windows:
            return None
        if self.cut is not None and self._next >= self.cut:
            return None
        return self._next

    def _keeps_bounds(self, worker: str) -> bool:
        """Return whether one more lease keeps every worker within the staleness bound.

        Each lease of another worker may be applied before a worker's push; windows applied since
        its lease was granted count too.
        """
        bound = 0 if len(self.applied) < self.warm_up else self.max_staleness
        if bound is None:
            return True
        total = len(self._outstanding)
        held: dict[str, int] = {}
        for each in self._outstanding.values():
            held[each.lease.worker] = held.get(each.lease.worker, 0) + 1
        if total - held.get(worker, 0) > bound:
            return False
        return all(
            each.exposure + total - held[each.lease.worker] + 1 <= bound
            for each in self._outstanding.values()
            if each.lease.worker != worker
        )
