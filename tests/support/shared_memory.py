"""Training in shared memory without Ray: a dispatcher in this process, workers that break off."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from distrib.engines.asynchronous.leases import Finished, Lease, Ledger
from distrib.engines.asynchronous.messages import Report
from distrib.engines.asynchronous.rpc import WorkerContext
from distrib.engines.asynchronous.shared_memory_worker import MEASUREMENTS, SharedMemoryLoop
from distrib.parameter_store.shared_memory import SharedMemory, plan_of
from distrib.training.step import Computed, SharedMemoryTrainer, arm_of_phase, shape_of_phase
from distrib.training.windows import Windows
from distrib.trials.trial import Trial
from recsys.data.batch import Batch
from recsys.data.click_log import ClickLog
from recsys.data.stream import Stream
from recsys.module import Arm

WINDOW = 3
WORKERS = 2


class Killed(Exception):
    """What a worker breaks off with, in place of a SIGKILL."""


@dataclass
class Line:
    """A worker's line to a ledger in this process."""

    ledger: Ledger
    name: str
    reports: list[Report] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def ask(self) -> Any:
        return self.ledger.grant(self.name, 0)

    def granted(self, asked: Any) -> Lease | None:
        return asked if isinstance(asked, Lease) else None

    def wait(self) -> Lease | None:
        answer = self.ask()
        assert isinstance(answer, Lease | Finished)
        return self.granted(answer)

    def take_waited_s(self) -> float:
        return 0.0

    def complete(self, report: Report) -> None:
        self.reports.append(report)
        self.ledger.complete(report.lease)

    def not_finite(self, lease: Lease, what: str) -> None:
        self.refused.append(what)
        if not self.ledger.fail(lease):
            raise Killed

    def heartbeat(self) -> None:
        pass


def killed_before(batch: int) -> type[SharedMemoryTrainer]:
    """Return a trainer that breaks off between two updates, having made so many."""

    class Dying(_Counting):
        def compute(self, batch_: Batch, number: int) -> Computed:
            if self.applied == batch:
                raise Killed
            return super().compute(batch_, number)

    return Dying


def killed_within(batch: int) -> type[SharedMemoryTrainer]:
    """Return a trainer that, after so many updates, breaks off in one: tables yes, towers no."""

    class Dying(_Counting):
        def apply(self, computed: Computed) -> None:
            if self.applied == batch:
                computed.pooled.backward(computed.gradient)
                raise Killed
            super().apply(computed)

    return Dying


class _Counting(SharedMemoryTrainer):
    applied = 0

    def apply(self, computed: Computed) -> None:
        super().apply(computed)
        self.applied += 1


class Node:
    """What one phase of a trial has on a node: the driver's arm, and workers one after another."""

    def __init__(self, log: ClickLog, trial: Trial, phase: int = 0, before: Arm | None = None):
        self.log, self.trial = log, trial
        self.recipe, self.phase = trial.recipe, trial.recipe.arm.phases[phase]
        self.stream = Stream(log, "train", self.recipe.stream, [trial.seeds])
        self.windows = Windows(self.stream.batch_count, WINDOW)
        self.memory = SharedMemory.create(
            self._plan(self.shape()), f"test/{phase}", self.recipe.optimizer, self.windows
        )
        self.arm = arm_of_phase(
            self.recipe, log, [trial], self.phase.groups, self.memory.tables, before
        )
        self.memory.fill_dense(self.arm)
        self.memory.share_dense(self.arm)
        self.ledger = Ledger(len(self.windows))
        self.reports: list[Report] = []
        self.refused: list[str] = []

    def shape(self) -> Arm:
        seeds = [self.trial.seeds]
        return shape_of_phase(self.recipe, self.log.schema, seeds, self.phase.groups)

    def attach(
        self, trainer: type[SharedMemoryTrainer] = SharedMemoryTrainer
    ) -> tuple[SharedMemory, Arm, SharedMemoryTrainer]:
        """Return the memory as another process has it: mapped once more, by its address."""
        arm = self.shape()
        memory = SharedMemory.attach(
            self.memory.address, self._plan(arm), self.recipe.optimizer, self.windows
        )
        arm.embeddings = memory.tables(arm.tables)
        optimizer = memory.share_dense(arm)
        count = self.stream.batch_count
        return memory, arm, trainer(arm, optimizer, self.phase, batch_count=count)

    def work(
        self, place: int = 0, trainer: type[SharedMemoryTrainer] = SharedMemoryTrainer
    ) -> None:
        """Have a worker train until all is done, or until it breaks off and is buried."""
        memory, _, of_worker = self.attach(trainer)
        name = f"worker-{place}-{self.ledger.leases}"
        line = Line(self.ledger, name, self.reports, self.refused)
        post = WorkerContext(
            name=name,
            stream=self.stream,
            windows=self.windows,
            heartbeat_s=1.0,
            counts_examples=True,
        )
        with suppress(Killed):
            SharedMemoryLoop(post, line, of_worker, memory.journal, place).run()  # type: ignore[arg-type]
        self.ledger.mark_dead([name])

    def _plan(self, arm: Arm) -> Any:
        return plan_of(
            arm, self.recipe.optimizer, self.windows, workers=WORKERS, measurements=MEASUREMENTS
        )
