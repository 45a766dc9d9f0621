"""The dispatcher: an actor around the ledger, with a clock, and the place where results meet."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

from distrib.async_engine.messages import Report, Seen, Status
from distrib.async_engine.metrics import Meters
from distrib.leases import Answer, Lease, Ledger

MOST_DEATHS = 8
"""A window whose holders died or fell silent this often is taken for the cause."""


class Dispatcher:
    """Grants windows and adds up reports. One actor; every call is short."""

    def __init__(self, ledger: Ledger, seen: Seen, meters: dict[str, str]) -> None:
        self._ledger = ledger
        self._seen = seen
        self._meters = Meters(meters)
        self._silent: set[str] = set()
        self._heard_at: dict[str, float] = {}
        self._losses: dict[int, int] = {}
        self._failure: str | None = None
        self._granted_at: dict[int, float] = {}
        self._first_grant_at: float | None = None

    def pid(self) -> int:
        return os.getpid()

    def next(self, worker: str) -> Answer:
        """Return a lease for a worker, or tell it to ask again, or that all is done."""
        now = self._heard(worker)
        self._expire(now)
        answer = self._ledger.grant(worker, now)
        if isinstance(answer, Lease):
            self._granted_at[answer.number] = now
            self._first_grant_at = self._first_grant_at or now
        return answer

    def heartbeat(self, worker: str) -> None:
        self._ledger.renew(worker, self._heard(worker))

    def complete(self, report: Report) -> None:
        """Take that a window is on every shard; a second report of a window adds nothing."""
        now = self._heard(report.lease.worker)
        granted_at = self._granted_at.pop(report.lease.number, now)
        if self._ledger.complete(report.lease):
            self._seen.add(report)
            self._meters.window(report, latency_s=now - granted_at)

    def not_finite(self, lease: Lease, what: str) -> None:
        """Take that a window gave NaN or infinity; the second time the trial fails."""
        self._heard(lease.worker)
        if not self._ledger.fail(lease) and self._failure is None:
            self._failure = what

    def mark_dead(self, workers: Iterable[str]) -> None:
        """Take back what dead workers held."""
        dead = set(workers)
        for worker in dead:
            self._heard_at.pop(worker, None)
            self._silent.discard(worker)
        self._blame(self._ledger.mark_dead(dead))

    def move_cut(self, cut: int | None) -> None:
        """Let windows up to the next cut be granted."""
        self._ledger.cut = cut

    def status(self) -> Status:
        now = time.monotonic()
        self._expire(now)
        lately = now - self._ledger.lease_s
        self._meters.workers(sum(at > lately for at in self._heard_at.values()))
        first = self._first_grant_at
        return Status(
            seen=self._seen,
            is_finished=self._ledger.is_finished,
            is_at_cut=self._ledger.at_cut,
            leases=self._ledger.leases,
            silent=tuple(sorted(self._silent)),
            failure=self._failure,
            train_seconds=0.0 if first is None else now - first,
        )

    def _heard(self, worker: str) -> float:
        self._silent.discard(worker)
        self._heard_at[worker] = now = time.monotonic()
        return now

    def _expire(self, now: float) -> None:
        silent = self._ledger.expire(now)
        self._silent |= {lease.worker for lease in silent}
        if not self._ledger.waits_for_death:  # else they are still out, and blamed when buried
            self._blame(silent)

    def _blame(self, lost: Iterable[Lease]) -> None:
        """Count a lost holder against its window, which may be what kills or hangs them all."""
        for lease in lost:
            losses = self._losses.get(lease.window, 0) + 1
            self._losses[lease.window] = losses
            if losses >= MOST_DEATHS and self._failure is None:
                self._failure = (
                    f"window {lease.window}: {losses} workers died or fell silent while they held "
                    "it, expected it to be trained"
                )
