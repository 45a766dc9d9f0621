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
    """How often each staleness was seen."""

    updates: Counter[int] = field(default_factory=Counter)
    examples: Counter[int] = field(default_factory=Counter)

    def add(self, seen: Iterable[Staleness]) -> None:
        for each in seen:
            self.updates[each.updates] += 1
            self.examples[each.examples] += 1

    def merge(self, other: StalenessHistogram) -> None:
        """Add what another counted."""
        self.updates.update(other.updates)
        self.examples.update(other.examples)

    def as_dict(self) -> dict[str, Any]:
        """Return what ``staleness.json`` holds: for each unit mean, maximum and histogram."""
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
    """The right and duty to train one window."""

    number: int
    """No two leases have the same, though they may be for one window"""
    window: int
    worker: str


@dataclass(frozen=True, slots=True)
class Hold:
    """Nothing can be granted now; ask again."""


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
    """What is applied, what is out, what is left.

    Args:
        windows: how many there are.
        lease_s: how long a lease lasts without a sign of life.
        max_staleness: most windows of others that may be applied between a worker's pull and its
            push; None: any number. 0: one worker after another.
        warm_up: so many windows at the start are trained one after another.
        start_with: so many workers must have asked before the first window is granted.
        applied: windows that need no training, after a recovery.
        leases: granted before.
        waits_for_death: whether the window of a silent worker is granted again only when it is
            known to be dead, since it could still do harm.
        cut: no window from this on is granted before all that come before are applied, so that
            all shards can be caught in one state. None: no cut.
    """

    windows: int
    lease_s: float = float("inf")
    max_staleness: int | None = None
    warm_up: int = 0
    start_with: int = 1
    applied: set[int] = field(default_factory=set)
    cut: int | None = None
    leases: int = 0
    waits_for_death: bool = False
    _next: int = 0
    _asked: set[str] = field(default_factory=set)
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
        """Tell whether all windows before the cut are applied, and no other."""
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
        """Take a sign of life of a worker: all its leases last anew."""
        for each in self._outstanding.values():
            if each.lease.worker == worker:
                each.expires_at = now + self.lease_s

    def complete(self, lease: Lease) -> bool:
        """Take that every shard has the window; False if that was known."""
        self._outstanding.pop(lease.number, None)
        if lease.window in self.applied:
            return False
        self.applied.add(lease.window)
        for each in self._outstanding.values():
            if each.lease.worker != lease.worker:
                each.exposure += 1
        return True

    def give_back(self, lease: Lease) -> None:
        """Take back a lease whose window is not trained by its holder."""
        if self._outstanding.pop(lease.number, None) is not None:
            heapq.heappush(self._returned, lease.window)

    def fail(self, lease: Lease) -> bool:
        """Take that training a window gave NaN or infinity; False if it was tried enough."""
        failures = self._failures.get(lease.window, 0) + 1
        self._failures[lease.window] = failures
        self.give_back(lease)
        return failures < ATTEMPTS

    def expire(self, now: float) -> list[Lease]:
        """Return the leases of silent workers, taken back unless their death is waited for."""
        silent = [each.lease for each in self._outstanding.values() if each.expires_at <= now]
        if not self.waits_for_death:
            for lease in silent:
                self.give_back(lease)
        return silent

    def mark_dead(self, workers: Iterable[str]) -> list[Lease]:
        """Take back the leases of workers that are known to be dead and return them."""
        dead = set(workers)
        self._asked -= dead
        lost = [lease for lease in self.outstanding if lease.worker in dead]
        for lease in lost:
            self.give_back(lease)
        return lost

    def _may_start(self, worker: str) -> bool:
        if not self._has_started:
            self._asked.add(worker)
            self._has_started = len(self._asked) >= self.start_with
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
        """Tell whether one more lease leaves every holder, this one too, within the bound.

        Each lease of another worker may be applied before a holder's push, and what has been
        applied since it was granted counts already.
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
