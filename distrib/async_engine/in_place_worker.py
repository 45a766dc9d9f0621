"""A worker of a store in shared memory: attaches, trains in place, and leaves nothing behind."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from distrib.async_engine.in_place_loop import TALLIES, InPlaceLoop
from distrib.async_engine.messages import Servers
from distrib.async_engine.post import Line
from distrib.async_engine.worker import BaseWorker
from distrib.in_place_trainer import InPlaceTrainer
from distrib.processes import own_name
from distrib.store.shared_journal import Journal
from distrib.store.shared_memory import SharedMemory, plan_of
from distrib.store.shared_segment import Address
from distrib.training import shape_of_phase
from recsys.arms import Phase
from recsys.module import Arm


@dataclass(frozen=True, kw_only=True, slots=True)
class _Attached:
    """A phase's arm in shared memory, and the journal of its training."""

    phase: int
    journal: Journal
    trainer: InPlaceTrainer


class InPlaceWorker(BaseWorker):
    """Trains windows of one trial in the memory of the process that it works for."""

    _attached: _Attached | None = None

    def loop(self, phase: int, servers: Servers) -> InPlaceLoop:
        assert servers.memory is not None
        if self._attached is None or self._attached.phase != phase:
            self._attached = None  # lets go of the phase before
            self._attached = self._attach(phase, servers.memory)
        post = self.post(phase)
        return InPlaceLoop(
            post,
            Line(post, servers.dispatcher),
            self._attached.trainer,
            self._attached.journal,
            self.place,
        )

    def _attach(self, phase: int, address: Address) -> _Attached:
        """Map what is there: no state is copied, and no table is ever made here."""
        recipe, of_phase = self.trial.recipe, self.trial.recipe.arm.phases[phase]
        arm = shape_of_phase(recipe, self.log.schema, [self.trial.seeds], of_phase.groups)
        plan = plan_of(
            arm, recipe.optimizer, self.windows, workers=self.engine.workers, tallies=TALLIES
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
    ) -> InPlaceTrainer:
        """Return what trains an arm in shared memory."""
        return InPlaceTrainer(arm, optimizer, phase, batch_count=self.stream.batch_count)
