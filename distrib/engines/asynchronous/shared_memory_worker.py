"""The worker actor of the shared-memory store: lease a window, train its batches in place."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import astuple, dataclass, fields

import torch

from distrib.engines.asynchronous.leases import Lease, Staleness
from distrib.engines.asynchronous.messages import Report, Seconds, Servers
from distrib.engines.asynchronous.rpc import DispatcherClient, WorkerContext
from distrib.engines.asynchronous.worker import BaseWorker
from distrib.parameter_store.shared_journal import Fenced, Holding, Journal, WindowRecord
from distrib.parameter_store.shared_memory import SharedMemory, plan_of
from distrib.parameter_store.shared_segment import Address
from distrib.scheduling.processes import own_name
from distrib.training.step import SharedMemoryTrainer, shape_of_phase
from distrib.training.windows import Window, not_finite
from recsys.arms import Phase
from recsys.cost import LookupCounter
from recsys.data.batch import Batch
from recsys.module import Arm

_LOOKUPS = len(LookupCounter().totals())
_SECONDS = len(fields(Seconds))
MEASUREMENTS = 1 + _LOOKUPS + _SECONDS
"""What a worker writes down of a window: examples, lookups, and where its own time went"""


class SharedMemoryLoop:
    """Trains windows until none is left.

    Args:
        context: the worker's context.
        dispatcher: client of the dispatcher.
        trainer: of an arm in shared memory.
        journal: of the same memory.
        place: index of the worker.

    Raises Ray's errors if the dispatcher has crashed.
    """

    def __init__(
        self,
        context: WorkerContext,
        dispatcher: DispatcherClient,
        trainer: SharedMemoryTrainer,
        journal: Journal,
        place: int,
    ) -> None:
        self._context = context
        self._dispatcher = dispatcher
        self._trainer = trainer
        self._journal = journal
        self._place = place

    def run(self) -> None:
        lease = self._dispatcher.wait()
        while lease is not None:
            asked = self._dispatcher.ask()
            with suppress(Fenced):  # then another has the window, and will report it
                self._train(lease)
            lease = self._dispatcher.granted(asked) or self._dispatcher.wait()

    def _train(self, lease: Lease) -> None:
        """Train the rest of a window, and report the whole window."""
        window = self._context.windows[lease.window]
        held = self._journal.take(window, lease.number)
        lookups = self._context.lookup_counter(window.number)
        examples, seconds = 0, Seconds(wait=self._dispatcher.take_waited_s())
        started = time.perf_counter()
        batches = self._context.stream.batches(window.first_batch, window.last_batch)
        for number, batch in enumerate(batches, start=window.first_batch):
            lookups.count(self._trainer.arm.tables, batch, again=not self._context.counts_examples)
            examples += batch.examples
            if number == held.next_batch:
                seconds.prepare += time.perf_counter() - started
                if not self._step(held, batch, seconds):
                    self._dispatcher.not_finite(lease, not_finite(window, helps="learning rate"))
                    return
                self._dispatcher.heartbeat()
                started = time.perf_counter()
        measurements = (examples, *lookups.totals(), *astuple(seconds))
        self._dispatcher.complete(
            report_of(lease, window, self._journal.record(held, measurements))
        )

    def _step(self, held: Holding, batch: Batch, seconds: Seconds) -> bool:
        """Train one batch; False if its step is not finite, and nothing changed."""
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
    """Return the report of a window from its record."""
    examples, *others = record.measurements
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


@dataclass(frozen=True, kw_only=True, slots=True)
class _Attached:
    """A phase's arm and journal in shared memory."""

    phase: int
    journal: Journal
    trainer: SharedMemoryTrainer


class SharedMemoryWorker(BaseWorker):
    """Trains windows of one trial in the driver's shared memory."""

    _attached: _Attached | None = None

    def loop(self, phase: int, servers: Servers) -> SharedMemoryLoop:
        assert servers.memory is not None
        if self._attached is None or self._attached.phase != phase:
            self._attached = None  # lets go of the phase before
            self._attached = self._attach(phase, servers.memory)
        context = self.context(phase)
        return SharedMemoryLoop(
            context,
            DispatcherClient(context, servers.dispatcher),
            self._attached.trainer,
            self._attached.journal,
            self.place,
        )

    def _attach(self, phase: int, address: Address) -> _Attached:
        """Map the shared memory, without copying or allocating tables."""
        recipe, of_phase = self.trial.recipe, self.trial.recipe.arm.phases[phase]
        arm = shape_of_phase(recipe, self.log.schema, [self.trial.seeds], of_phase.groups)
        plan = plan_of(
            arm,
            recipe.optimizer,
            self.windows,
            workers=self.engine.workers,
            measurements=MEASUREMENTS,
        )
        memory = SharedMemory.attach(address, plan, recipe.optimizer, self.windows)
        memory.journal.enter(self.place, own_name())
        arm.embeddings = memory.tables(arm.tables)
        return _Attached(
            phase=phase,
            journal=memory.journal,
            trainer=self.make_trainer(arm, memory.share_dense(arm), of_phase),
        )

    def make_trainer(
        self, arm: Arm, optimizer: torch.optim.Optimizer, phase: Phase
    ) -> SharedMemoryTrainer:
        """Return the trainer of an arm in shared memory."""
        return SharedMemoryTrainer(arm, optimizer, phase, batch_count=self.stream.batch_count)
