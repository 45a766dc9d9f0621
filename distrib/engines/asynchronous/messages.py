"""Messages between driver, dispatcher and workers."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from distrib.engines.asynchronous.leases import Lease, Staleness, StalenessHistogram
from distrib.parameter_store.shared_segment import Address


@dataclass(slots=True)
class Seconds:
    """A worker's time by activity, and its window's requests to shards."""

    prepare: float = 0.0
    """Making batches, and finding their distinct rows where they are pulled"""
    pull: float = 0.0
    """Waiting for pulled rows, and putting them together; none in shared memory"""
    compute: float = 0.0
    push: float = 0.0
    """Cutting the change into parts and handing them over; applying it in shared memory"""
    wait: float = 0.0
    """Without a window"""
    shard: float = 0.0
    """CPU time of all shards, beside the worker's; none in shared memory"""

    def add(self, other: Seconds) -> None:
        self.prepare += other.prepare
        self.pull += other.pull
        self.compute += other.compute
        self.push += other.push
        self.wait += other.wait
        self.shard += other.shard


@dataclass(frozen=True, kw_only=True, slots=True)
class PushReply:
    """A shard's reply to a push."""

    staleness: Staleness | None
    """None: the window was applied before"""
    cpu_s: float
    """Of the shard's process, since its last answer to any push"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """A window that all shards applied."""

    lease: Lease
    batches: int
    examples: int
    progressive_loss: float
    """Summed over the examples"""
    lookups: tuple[int, ...]
    """Totals of a ``LookupCounter``, which would bring TorchRec into the dispatcher's process"""
    staleness: tuple[Staleness, ...]
    """For each shard that took the window from this lease; for each batch in shared memory"""
    bytes_pulled: int
    bytes_pushed: int
    seconds: Seconds
    torn_batches: int = 0
    """Whose update a worker was killed in: it counts as done, though it may be there in part"""


@dataclass(slots=True)
class TrainingProgress:
    """Sums over the applied windows."""

    windows: int = 0
    batches: int = 0
    examples: int = 0
    progressive_loss: float = 0.0
    bytes_pulled: int = 0
    bytes_pushed: int = 0
    lookups: tuple[int, ...] = ()
    staleness: StalenessHistogram = field(default_factory=StalenessHistogram)
    seconds: Seconds = field(default_factory=Seconds)
    torn_batches: int = 0

    def add(self, report: Report) -> None:
        """Add a window that all shards applied."""
        self.windows += 1
        self.batches += report.batches
        self.examples += report.examples
        self.progressive_loss += report.progressive_loss
        self.bytes_pulled += report.bytes_pulled
        self.bytes_pushed += report.bytes_pushed
        before = self.lookups or (0,) * len(report.lookups)
        self.lookups = tuple(a + b for a, b in zip(before, report.lookups, strict=True))
        self.staleness.add(report.staleness)
        self.seconds.add(report.seconds)
        self.torn_batches += report.torn_batches


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """Progress of a pass."""

    seen: TrainingProgress
    is_finished: bool
    is_at_cut: bool
    leases: int
    """Granted so far"""
    silent: tuple[str, ...]
    """Workers whose leases expired and who have not been heard of since"""
    failure: str | None
    """Why the trial cannot be trained"""
    train_seconds: float
    """Since the first lease"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Servers:
    """The actors that the workers of one server group call."""

    dispatcher: Any
    shards: tuple[Any, ...] = ()
    """Actors, of a store that has them; they start again together with the dispatcher"""
    memory: Address | None = None
    """Of a store in shared memory, which outlives dispatchers"""


class WorkerExit(StrEnum):
    """Why a worker stopped requesting windows."""

    FINISHED = "finished"
    SERVERS_LOST = "servers lost"
