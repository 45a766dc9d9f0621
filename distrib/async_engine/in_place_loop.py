"""What a worker does all day in shared memory: lease a window, and train its batches in place.

The next window is leased while one is trained, so nobody waits for the dispatcher.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import astuple, fields

from distrib.async_engine.messages import Report, Seconds
from distrib.async_engine.post import Line, Post
from distrib.in_place_trainer import InPlaceTrainer
from distrib.leases import Lease
from distrib.staleness import Staleness
from distrib.store.shared_journal import Fenced, Holding, Journal, WindowRecord
from distrib.window_trainer import not_finite
from distrib.windows import Window
from recsys.cost import LookupCounter
from recsys.data.batch import Batch

_LOOKUPS = len(LookupCounter().totals())
_SECONDS = len(fields(Seconds))
TALLIES = 1 + _LOOKUPS + _SECONDS
"""What a worker writes down of a window: examples, lookups, and where its own time went"""


class InPlaceLoop:
    """Trains windows until none is left.

    Args:
        post: where the worker stands.
        line: to the dispatcher.
        trainer: of an arm in shared memory.
        journal: of the same memory.
        place: of the worker among all.

    Raises what Ray raises when the dispatcher is gone.
    """

    def __init__(
        self, post: Post, line: Line, trainer: InPlaceTrainer, journal: Journal, place: int
    ) -> None:
        self._post = post
        self._line = line
        self._trainer = trainer
        self._journal = journal
        self._place = place

    def run(self) -> None:
        lease = self._line.wait()
        while lease is not None:
            asked = self._line.ask()
            with suppress(Fenced):  # then another has the window, and will report it
                self._train(lease)
            lease = self._line.granted(asked) or self._line.wait()

    def _train(self, lease: Lease) -> None:
        """Train what is left of a window, and report all of it."""
        window = self._post.windows[lease.window]
        held = self._journal.take(window, lease.number)
        lookups = self._post.lookup_counter(window.number)
        examples, seconds = 0, Seconds(wait=self._line.take_waited_s())
        started = time.perf_counter()
        batches = self._post.stream.batches(window.first_batch, window.last_batch)
        for number, batch in enumerate(batches, start=window.first_batch):
            lookups.count(self._trainer.arm.tables, batch, again=not self._post.counts_examples)
            examples += batch.examples
            if number == held.next_batch:
                seconds.prepare += time.perf_counter() - started
                if not self._step(held, batch, seconds):
                    self._line.not_finite(lease, not_finite(window, helps="learning rate"))
                    return
                self._line.heartbeat()
                started = time.perf_counter()
        tallies = (examples, *lookups.totals(), *astuple(seconds))
        self._line.complete(report_of(lease, window, self._journal.record(held, tallies)))

    def _step(self, held: Holding, batch: Batch, seconds: Seconds) -> bool:
        """Train one batch; False if its step is not finite, and nothing is done."""
        started = time.perf_counter()
        before = self._journal.others(self._place)
        computed = self._trainer.compute(batch, held.next_batch)
        computed_at = time.perf_counter()
        seconds.compute += computed_at - started
        if not computed.is_finite:
            return False
        now = self._journal.others(self._place)
        staleness = Staleness(
            updates=now.updates - before.updates, examples=now.examples - before.examples
        )
        self._journal.begin(held, computed.served_loss, staleness)
        self._trainer.apply(computed)
        self._journal.end(held, self._place, batch.examples)
        seconds.push += time.perf_counter() - computed_at
        return True


def report_of(lease: Lease, window: Window, record: WindowRecord) -> Report:
    """Return the report of a window from what is written down of it."""
    examples, *others = record.tallies
    return Report(
        lease=lease,
        batches=window.last_batch - window.first_batch,
        examples=int(examples),
        progressive_loss=record.losses,
        lookups=tuple(int(value) for value in others[:_LOOKUPS]),
        staleness=record.staleness,
        bytes_pulled=0,
        bytes_pushed=0,
        seconds=Seconds(*others[_LOOKUPS:]),
        torn_batches=record.torn,
    )
