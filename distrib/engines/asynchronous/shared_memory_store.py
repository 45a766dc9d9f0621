"""The shared-memory store as the driver sees it: the arm lives in memory that workers map."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import pairwise
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from distrib.engines.asynchronous.leases import Lease
from distrib.engines.asynchronous.messages import Servers
from distrib.engines.asynchronous.shared_memory_worker import TALLIES, report_of
from distrib.engines.asynchronous.store import Named, ResumePoint
from distrib.errors import TrialFailed
from distrib.parameter_store.layout import digests, layout_of
from distrib.parameter_store.shard import Served, ShardState, fresh
from distrib.parameter_store.shard_server import write_shard
from distrib.parameter_store.shared_memory import SharedMemory, plan_of
from distrib.parameter_store.shared_segment import Plan, refuse_without_room
from distrib.scheduling.processes import end
from distrib.training.step import arm_of_phase, shape_of_phase
from distrib.training.windows import Windows
from distrib.trials.trial import Trial
from recsys.arms import Phase
from recsys.data.click_log import ClickLog
from recsys.engines import AsyncEngine
from recsys.module import Arm

_DEATH_S = 60.0
"""How long a killed process may take to end; one that hangs in the kernel takes forever"""


class SharedMemoryStore:
    """A ``Store``. It outlives dispatchers and workers, and knows what they have done.

    Raises:
        ConfigError: there is no room for its phases.
    """

    waits_for_death = True

    def __init__(
        self, log: ClickLog, trial: Trial, engine: AsyncEngine, windows: Windows, run: str
    ) -> None:
        self._log = log
        self._trial = trial
        self._workers = engine.workers
        self._windows = windows
        self._run = run
        self._memory: SharedMemory | None = None
        self._arm: Arm | None = None
        self._start: ResumePoint | None = None
        """What the phase started from, here"""
        plans = [self._plan(phase).size_bytes for phase in trial.recipe.arm.phases]
        # A phase begins while the one before, whose weights it takes over, is still there.
        refuse_without_room(max(before + here for before, here in pairwise([0, *plans])))

    def worker_options(self) -> dict[str, Any]:
        if ray.util.get_current_placement_group() is not None:
            return {}  # this process and its workers have places on one node reserved
        here = ray.get_runtime_context().get_node_id()
        return {"scheduling_strategy": NodeAffinitySchedulingStrategy(here, soft=False)}

    def begin(self, number: int, phase: Phase) -> None:
        recipe = self._trial.recipe
        self.close()
        self._memory = memory = SharedMemory.create(
            self._plan(phase), f"{self._run}/{number}", recipe.optimizer, self._windows
        )
        arm = arm_of_phase(recipe, self._log, [self._trial], phase.groups, memory.tables, self._arm)
        memory.fill_dense(arm)
        memory.share_dense(arm)
        self._arm, self._start = arm, None

    def kept(self) -> ResumePoint | None:
        if self._start is None:
            return None
        journal, seen = self._here.journal, deepcopy(self._start.seen)
        recorded = frozenset(journal.recorded())
        for number in sorted(recorded - self._start.applied):
            window = self._windows[number]
            lease = Lease(number=-1, window=number, worker="")
            seen.add(report_of(lease, window, journal.record_of(window)))
        return ResumePoint(
            applied=recorded, seen=seen, leases=max(journal.leases(), self._start.leases)
        )

    def restore(self, start: ResumePoint, shards: Sequence[ShardState] | None) -> None:
        if shards is not None:
            (state,) = shards
            self._here.load(self.arm(), state.parameters)
        self._here.journal.start_after(sorted(start.applied))
        self._start = ResumePoint(
            applied=start.applied, seen=deepcopy(start.seen), leases=start.leases
        )

    def serve(self, dispatcher: Any, named: Named) -> Servers:
        return Servers(dispatcher=dispatcher, memory=self._here.address)

    def check(self) -> None:
        pass

    def arm(self) -> Arm:
        assert self._arm is not None
        return self._arm

    def write(self, root: str, name: str) -> list[str]:
        start = fresh(self._here.parameters(self.arm()))
        applied = dict.fromkeys(self._here.journal.recorded(), (-1, 0))
        return [write_shard(root, name, 0, replace(start, applied=applied))]

    def order(self) -> list[tuple[Served, ...]]:
        return []

    def digests(self) -> dict[str, str]:
        arm, optimizer = self.arm(), self._trial.recipe.optimizer
        layout = layout_of(arm.tables, arm.dense, 1, optimizer)
        return digests(arm, layout, self._here.parameters(arm))

    def ensure_stopped(self, place: int) -> None:
        process = self._here.journal.process(place)
        if process is not None and not end(process, _DEATH_S):
            raise TrialFailed(
                f"worker process {process.pid}: still there {_DEATH_S:g} s after SIGKILL, expected "
                "it to end; it hangs in the kernel, and could still change shared memory"
            )

    def stop(self) -> None:
        pass

    def close(self) -> None:
        if self._memory is not None:
            self._memory.close()

    def _plan(self, phase: Phase) -> Plan:
        recipe = self._trial.recipe
        shape = shape_of_phase(recipe, self._log.schema, [self._trial.seeds], phase.groups)
        return plan_of(
            shape, recipe.optimizer, self._windows, workers=self._workers, tallies=TALLIES
        )

    @property
    def _here(self) -> SharedMemory:
        assert self._memory is not None
        return self._memory
