"""The progress of every window, in shared memory, so that it survives crashes.

A window's progress is one 8-byte word, stored atomically and in program order with the updates it
describes. So a killed process leaves the number of its updates, and whether one was in progress.
The dispatcher gives a window to one worker at a time; the lease number in the word stops a worker
that was wrongly treated as dead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distrib.engines.asynchronous.leases import Staleness
from distrib.parameter_store.shared_segment import Field, Segment
from distrib.scheduling.processes import ProcessName
from distrib.training.windows import Window, Windows
from recsys.errors import ConfigError

_APPLYING = 1
"""Set while a batch's update is under way"""
_RECORDED = 2
"""Set when all batches are done and what the window sums up to is written down"""
_TORN_SHIFT, _MOST_TORN = 2, (1 << 6) - 1
_DONE_SHIFT, _MOST_DONE = 8, (1 << 24) - 1
_LEASE_SHIFT = 32

_SLOT = 8
"""int64 values of a worker's slot, a cache line: pid, start time, what it has applied"""
_APPLIED = 2
_UPDATE = 1 << 36
"""What an update adds to a worker's word, beside its examples: both are there at once or not"""
_MOST_UPDATES = (1 << 27) - 1


class Fenced(Exception):
    """Another worker has the window; the caller must not change anything."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Counted:
    """Updates applied, and their examples: fewer than 2 ** 36."""

    updates: int
    examples: int


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowRecord:
    """The record of a window whose batches are all done."""

    losses: float
    """Progressive loss, summed over the examples"""
    staleness: tuple[Staleness, ...]
    """Of each batch"""
    torn: int
    """Batches whose update is there in part, or whole, nobody knows"""
    measurements: tuple[float, ...]
    """What its last holder measured"""


@dataclass(slots=True)
class Holding:
    """The right to apply a window's batches, in order."""

    window: Window
    word: int

    @property
    def next_batch(self) -> int:
        """Number in the stream of the window's next batch."""
        return self.window.first_batch + _done(self.word)

    @property
    def is_through(self) -> bool:
        return self.next_batch >= self.window.last_batch


class Journal:
    """The progress of a pass, in a segment.

    Args:
        segment: planned with ``fields`` among its arrays.
        windows: of the stream.
    """

    def __init__(self, segment: Segment, windows: Windows) -> None:
        self._windows = windows
        self._words = segment.array("journal/windows")
        self._losses = segment.array("journal/losses")
        self._staleness = segment.array("journal/staleness")
        self._measurements = segment.array("journal/tallies")
        self._slots = segment.array("journal/workers")
        # Read and written for every batch: an order of magnitude faster than numpy's scalars.
        self._counts = self._slots.reshape(-1).data

    @staticmethod
    def fields(windows: Windows, workers: int, measurements: int) -> tuple[Field, ...]:
        """Return the arrays of a journal, with ``measurements`` numbers for each window.

        Raises:
            ConfigError: windows, or a stream, with more batches than a word can count.
        """
        if windows.batches > _MOST_UPDATES:
            raise ConfigError(
                f"stream.batch_size: found {windows.batches} batches, expected at most "
                f"{_MOST_UPDATES} with store: shared_memory; use larger batches"
            )
        longest = min(windows.length, windows.batches)
        if longest > _MOST_DONE:
            raise ConfigError(
                f"engine.window: found {longest} batches, expected at most {_MOST_DONE} with "
                "store: shared_memory"
            )
        return (
            Field(name="journal/windows", dtype="<u8", shape=(len(windows),)),
            Field(name="journal/losses", dtype="<f8", shape=(windows.batches,)),
            Field(name="journal/staleness", dtype="<i8", shape=(windows.batches, 2)),
            Field(name="journal/tallies", dtype="<f8", shape=(len(windows), measurements)),
            Field(name="journal/workers", dtype="<i8", shape=(workers, _SLOT)),
        )

    # A worker's side.

    def enter(self, place: int, process: ProcessName) -> None:
        """Register a worker's process at its place; the counters of the place continue."""
        self._slots[place, :2] = process.pid, process.started

    def take(self, window: Window, lease: int) -> Holding:
        """Take a window, from the batch after the last one that was applied.

        A batch during whose update the last worker crashed is not trained again.

        Raises:
            Fenced: it was taken with a later lease.
        """
        word = int(self._words[window.number])
        if lease < word >> _LEASE_SHIFT:  # stored plus one: 0 is nobody's
            raise Fenced
        torn, done = (word >> _TORN_SHIFT) & _MOST_TORN, _done(word)
        if word & _APPLYING:
            torn, done = min(torn + 1, _MOST_TORN), done + 1
        word = (
            (lease + 1) << _LEASE_SHIFT
            | done << _DONE_SHIFT
            | torn << _TORN_SHIFT
            | (word & _RECORDED)
        )
        self._words[window.number] = word
        return Holding(window=window, word=word)

    def others(self, place: int) -> Counted:
        """Return the totals of all other workers."""
        words = self._counts[_APPLIED::_SLOT]
        updates, examples = divmod(sum(words) - words[place], _UPDATE)
        return Counted(updates=updates, examples=examples)

    def begin(self, held: Holding, loss: float, staleness: Staleness) -> None:
        """Record the next batch's loss and staleness, and that its update is in progress.

        Raises:
            Fenced: another worker has the window.
        """
        if int(self._words[held.window.number]) != held.word:
            raise Fenced
        self._losses[held.next_batch] = loss
        self._staleness[held.next_batch] = staleness.updates, staleness.examples
        self._words[held.window.number] = held.word | _APPLYING

    def end(self, held: Holding, place: int, examples: int) -> None:
        """Record that the batch's update is done."""
        held.word += 1 << _DONE_SHIFT
        self._words[held.window.number] = held.word
        self._counts[place * _SLOT + _APPLIED] += _UPDATE + examples

    def record(self, held: Holding, measurements: Sequence[float]) -> WindowRecord:
        """Record the metrics of a finished window; return its record.

        Raises:
            Fenced: another worker has the window.
        """
        assert held.is_through
        if int(self._words[held.window.number]) != held.word:
            raise Fenced
        self._measurements[held.window.number] = measurements
        held.word |= _RECORDED
        self._words[held.window.number] = held.word
        return self.record_of(held.window)

    # The driver's side.

    def record_of(self, window: Window) -> WindowRecord:
        """Return the record of a finished window."""
        batches = slice(window.first_batch, window.last_batch)
        return WindowRecord(
            losses=float(self._losses[batches].sum()),
            staleness=tuple(
                Staleness(updates=int(updates), examples=int(examples))
                for updates, examples in self._staleness[batches]
            ),
            torn=(int(self._words[window.number]) >> _TORN_SHIFT) & _MOST_TORN,
            measurements=tuple(self._measurements[window.number].tolist()),
        )

    def recorded(self) -> list[int]:
        """Return the numbers of the finished windows, ascending."""
        return np.flatnonzero(self._words & np.uint64(_RECORDED)).tolist()

    def leases(self) -> int:
        """Return a number above all leases used so far."""
        return int(self._words.max() >> np.uint64(_LEASE_SHIFT)) if len(self._words) else 0

    def process(self, place: int) -> ProcessName | None:
        """Return the last process registered at a worker's place."""
        pid, started = (int(value) for value in self._slots[place, :2])
        return ProcessName(pid=pid, started=started) if pid else None

    def start_after(self, windows: Sequence[int]) -> None:
        """Mark windows that were trained before this journal existed."""
        self._words[list(windows)] = _RECORDED


def _done(word: int) -> int:
    return (word >> _DONE_SHIFT) & _MOST_DONE
