"""The dispatcher actor: leases windows to workers, aggregates reports, exports Ray metrics."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

from ray.util.metrics import Counter, Gauge, Histogram

from distrib.engines.asynchronous.leases import Answer, Lease, Ledger
from distrib.engines.asynchronous.messages import Report, Status, TrainingProgress

_STALENESS = [0.5, 1.5, 2.5, 4.5, 8.5, 16.5, 32.5, 64.5, 128.5, 256.5, 1024.5]
_LATENCY_S = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100]


class RayMetrics:
    """The dispatcher's Ray metrics; ``tags`` identify the training."""

    def __init__(self, tags: dict[str, str]) -> None:
        keys = tuple(tags)
        self._examples = Counter(
            "soloist_examples_total", "Examples trained and applied on every shard", keys
        )
        self._pulled = Counter("soloist_pulled_bytes_total", "Bytes that workers pulled", keys)
        self._pushed = Counter("soloist_pushed_bytes_total", "Bytes that workers pushed", keys)
        self._workers = Gauge(
            "soloist_workers", "Workers with a heartbeat within the last lease_s", keys
        )
        self._staleness = Histogram(
            "soloist_staleness_windows",
            "Windows of other workers between a pull and its push",
            _STALENESS,
            keys,
        )
        self._latency = Histogram(
            "soloist_window_seconds", "From the lease of a window to its report", _LATENCY_S, keys
        )
        for meter in (
            self._examples,
            self._pulled,
            self._pushed,
            self._workers,
            self._staleness,
            self._latency,
        ):
            meter.set_default_tags(tags)

    def window(self, report: Report, *, latency_s: float) -> None:
        """Record an applied window."""
        self._examples.inc(report.examples)
        self._pulled.inc(report.bytes_pulled)
        self._pushed.inc(report.bytes_pushed)
        self._latency.observe(latency_s)
        for each in report.staleness:
            self._staleness.observe(each.updates)

    def workers(self, live_workers: int) -> None:
        """Set the number of workers."""
        self._workers.set(live_workers)


MOST_DEATHS = 8
"""A window whose holders crashed or stopped responding this often is taken for the cause."""


class Dispatcher:
    """Grants leases and aggregates reports. One actor; all calls are short."""

    def __init__(self, ledger: Ledger, seen: TrainingProgress, meters: dict[str, str]) -> None:
        self._ledger = ledger
        self._seen = seen
        self._meters = RayMetrics(meters)
        self._silent: set[str] = set()
        self._last_heartbeat: dict[str, float] = {}
        self._crashes: dict[int, int] = {}
        self._failure: str | None = None
        self._granted_at: dict[int, float] = {}
        self._first_grant_at: float | None = None

    def pid(self) -> int:
        return os.getpid()

    def next(self, worker: str) -> Answer:
        """Return a lease for a worker, or a request to retry, or the end of the pass."""
        now = self._record_heartbeat(worker)
        self._expire(now)
        answer = self._ledger.grant(worker, now)
        if isinstance(answer, Lease):
            self._granted_at[answer.number] = now
            self._first_grant_at = self._first_grant_at or now
        return answer

    def heartbeat(self, worker: str) -> None:
        self._ledger.renew(worker, self._record_heartbeat(worker))

    def complete(self, report: Report) -> None:
        """Record that all shards applied a window; duplicates are ignored."""
        now = self._record_heartbeat(report.lease.worker)
        granted_at = self._granted_at.pop(report.lease.number, now)
        if self._ledger.complete(report.lease):
            self._seen.add(report)
            self._meters.window(report, latency_s=now - granted_at)

    def not_finite(self, lease: Lease, what: str) -> None:
        """Record NaN or infinity in a window; the second time the trial fails."""
        self._record_heartbeat(lease.worker)
        if not self._ledger.fail(lease) and self._failure is None:
            self._failure = what

    def mark_dead(self, workers: Iterable[str]) -> None:
        """Revoke the leases of dead workers."""
        dead = set(workers)
        for worker in dead:
            self._last_heartbeat.pop(worker, None)
            self._silent.discard(worker)
        self._count_loss(self._ledger.mark_dead(dead))

    def move_cut(self, cut: int | None) -> None:
        """Allow windows up to the next cut."""
        self._ledger.cut = cut

    def status(self) -> Status:
        now = time.monotonic()
        self._expire(now)
        lately = now - self._ledger.lease_s
        self._meters.workers(sum(at > lately for at in self._last_heartbeat.values()))
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

    def _record_heartbeat(self, worker: str) -> float:
        self._silent.discard(worker)
        self._last_heartbeat[worker] = now = time.monotonic()
        return now

    def _expire(self, now: float) -> None:
        silent = self._ledger.expire(now)
        self._silent |= {lease.worker for lease in silent}
        if not self._ledger.needs_confirmed_exit:  # else they are still out, and blamed when buried
            self._count_loss(silent)

    def _count_loss(self, lost: Iterable[Lease]) -> None:
        """Count a lost worker against its window, which may be the cause."""
        for lease in lost:
            losses = self._crashes.get(lease.window, 0) + 1
            self._crashes[lease.window] = losses
            if losses >= MOST_DEATHS and self._failure is None:
                self._failure = (
                    f"window {lease.window}: {losses} workers crashed or stopped responding "
                    "during it, expected it to be trained"
                )
