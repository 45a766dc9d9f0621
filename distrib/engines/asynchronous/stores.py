"""The parameter stores as the driver uses them: shard actors, or shared memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Protocol

import ray
import torch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from torch import nn
from torchrec.modules.embedding_configs import EmbeddingBagConfig

from distrib.engines.asynchronous.leases import Lease
from distrib.engines.asynchronous.messages import Servers, TrainingProgress
from distrib.engines.asynchronous.rpc import ANSWER_S, ServersLost, answer
from distrib.engines.asynchronous.shared_memory_worker import MEASUREMENTS, report_of
from distrib.errors import TrialFailed
from distrib.parameter_store.layout import Layout, digests, fill_arm, layout_of, parameters_of
from distrib.parameter_store.shard import (
    Parameters,
    Served,
    ShardServer,
    ShardState,
    fresh,
    join,
    part_of,
    write_shard,
)
from distrib.parameter_store.shared_memory import SharedMemory, plan_of
from distrib.parameter_store.shared_segment import Plan, refuse_without_room
from distrib.scheduling.processes import available_bytes, end
from distrib.training.step import arm_of_phase, shape_of_phase
from distrib.training.windows import Windows
from distrib.trials.trial import Trial
from recsys.arms import Phase
from recsys.data.click_log import ClickLog
from recsys.embeddings import fused_collection
from recsys.engines import AsyncEngine
from recsys.errors import ConfigError
from recsys.module import Arm

Named = Callable[[str], dict[str, Any]]
"""Returns the options of an actor from what it is called in its generation"""


@dataclass(frozen=True, kw_only=True, slots=True)
class ResumePoint:
    """The state that a server group starts from."""

    applied: frozenset[int]
    """Windows"""
    seen: TrainingProgress
    """What they sum up to"""
    leases: int
    """Granted before"""


class Store(Protocol):
    """The store of one training; phases follow one another, each with one or more server groups.

    ``begin`` a phase, then ``restore`` it unless it was ``kept``, and ``serve`` a server group
    until ``stop``. Methods that call actors raise ServersLost if one has crashed.
    """

    @property
    def needs_confirmed_exit(self) -> bool:
        """Whether an unresponsive worker could still change parameters and must be killed."""
        ...

    def worker_options(self) -> dict[str, Any]:
        """Return Ray options of a worker, besides its threads."""
        ...

    def begin(self, number: int, phase: Phase) -> None:
        """Initialize a phase's parameters.

        Raises:
            ConfigError: the model does not fit, or cannot be trained by this store.
        """
        ...

    def kept(self) -> ResumePoint | None:
        """Return the applied windows if the store survived its last server group."""
        ...

    def restore(self, start: ResumePoint, shards: Sequence[ShardState] | None) -> None:
        """Restore a snapshot, or with None the start of the phase."""
        ...

    def serve(self, dispatcher: Any, named: Named) -> Servers:
        """Start a server group; return the actors that its workers call."""
        ...

    def check(self) -> None:
        """Raise ServersLost if an actor is known to have crashed."""
        ...

    def arm(self) -> Arm:
        """Return the phase's arm with its current weights."""
        ...

    def write(self, root: str, name: str) -> list[str]:
        """Write a snapshot's files and return each shard's digest; no window is in training."""
        ...

    def order(self) -> list[tuple[Served, ...]]:
        """Return the order log of every shard."""
        ...

    def digests(self) -> dict[str, str]:
        """Return the SHA-256 of every tensor of the arm as it was last returned."""
        ...

    def ensure_stopped(self, place: int) -> None:
        """Make sure that the last worker at a place has exited.

        Raises:
            TrialFailed: it cannot be stopped.
        """
        ...

    def stop(self) -> None:
        """Stop a server group."""
        ...

    def close(self) -> None:
        """Release all resources of the training."""
        ...


_COPIES = 5
"""Of a phase's parameters, at most at once, on the driver's machine: the arm, what the phase began
with, and, while the weights are fetched anew, those that were fetched before, what the shards send
(in Ray's object store) and what it is joined to"""

_WRITE_S = 3600.0
"""So long a shard may take to write a snapshot of its part"""
_SILENT_LEASES = 4
"""A shard that is silent for so long is taken for dead, before its workers' window is blamed"""


class ServerStore:
    """A ``Store`` of shard actors. The driver's arm is a copy, filled on request."""

    needs_confirmed_exit = False  # a shard takes each window once, whoever pushes it

    def __init__(self, log: ClickLog, trial: Trial, engine: AsyncEngine) -> None:
        self._log = log
        self._trial = trial
        self._engine = engine
        self._arm: Arm | None = None
        self._layout: Layout | None = None
        self._before: Parameters | None = None
        """As the phase begins"""
        self._latest: Parameters | None = None
        self._states: tuple[ShardState, ...] = ()
        self._shards: tuple[Any, ...] = ()
        self._signs: list[Any] = []
        self._overdue_at: list[float] = []
        """When a sign of life is taken to come no more"""

    def worker_options(self) -> dict[str, Any]:
        return {}

    def begin(self, number: int, phase: Phase) -> None:
        recipe = self._trial.recipe
        if number == 0:
            self._refuse_what_does_not_fit()

        def make_embeddings(tables: list[EmbeddingBagConfig]) -> nn.Module:
            return fused_collection(tables, recipe.optimizer, torch.device("cpu"))

        arm = arm_of_phase(
            recipe, self._log, [self._trial], phase.groups, make_embeddings, self._arm
        )
        self._arm, self._layout = arm, layout_of(arm.tables, arm.dense, 1, recipe.optimizer)
        self._before = parameters_of(arm, self._layout, 0)

    def kept(self) -> ResumePoint | None:
        return None

    def restore(self, start: ResumePoint, shards: Sequence[ShardState] | None) -> None:
        if shards is None:
            assert self._before is not None
            count = self._engine.shards
            shards = [fresh(part_of(self._before, shard, count)) for shard in range(count)]
        self._states = tuple(shards)

    def serve(self, dispatcher: Any, named: Named) -> Servers:
        shard = ray.remote(ShardServer)
        self._shards = tuple(
            shard.options(**named(f"shard-{i}")).remote(state, self._engine.record)
            for i, state in enumerate(self._states)
        )
        self._states = ()
        self._signs = [each.version.remote() for each in self._shards]
        self._overdue_at = [time.monotonic() + ANSWER_S] * len(self._shards)  # it has to load first
        return Servers(dispatcher=dispatcher, shards=self._shards)

    def check(self) -> None:
        """Request another heartbeat from every shard that replied to the last one."""
        ready, _ = ray.wait(self._signs, num_returns=len(self._signs), timeout=0)
        now = time.monotonic()
        for number, shard in enumerate(self._shards):
            if self._signs[number] in ready:
                answer(self._signs[number])
                self._signs[number] = shard.version.remote()
                self._overdue_at[number] = now + _SILENT_LEASES * self._engine.lease_s
            elif now > self._overdue_at[number]:
                raise ServersLost(f"shard {number} sends no heartbeat")

    def arm(self) -> Arm:
        assert self._arm is not None
        assert self._layout is not None
        if self._shards:
            self._latest = join(self._of_shards(lambda shard, _: shard.parameters.remote()))
            fill_arm(self._arm, self._layout, [self._latest])
        return self._arm

    def write(self, root: str, name: str) -> list[str]:
        """Have all shards write their files, which may take long."""
        return self._of_shards(
            lambda shard, number: shard.write.remote(root, name, number), limit_s=_WRITE_S
        )

    def order(self) -> list[tuple[Served, ...]]:
        return self._of_shards(lambda shard, _: shard.order.remote())

    def digests(self) -> dict[str, str]:
        assert self._arm is not None
        assert self._layout is not None
        assert self._latest is not None
        return digests(self._arm, self._layout, self._latest)

    def ensure_stopped(self, place: int) -> None:
        pass

    def stop(self) -> None:
        for shard in self._shards:
            ray.kill(shard)
        self._shards = ()

    def close(self) -> None:
        self.stop()

    def _refuse_what_does_not_fit(self) -> None:
        recipe = self._trial.recipe
        seeds = [self._trial.seeds]
        shapes = [
            shape_of_phase(recipe, self._log.schema, seeds, phase.groups)
            for phase in recipe.arm.phases
        ]
        one = max(layout_of(s.tables, s.dense, 1, recipe.optimizer).bytes for s in shapes)
        free = available_bytes()
        if _COPIES * one > free:
            raise ConfigError(
                f"engine.store: server needs {_COPIES * one / 1e9:.3g} GB on the driver's "
                "node, for "
                f"{_COPIES} copies of tables, optimiser state and towers, to start from and to "
                f"evaluate; found {free / 1e9:.3g} GB of memory available, expected as much, or "
                "smaller tables"
            )

    def _of_shards(self, call: Callable[[Any, int], Any], limit_s: float = ANSWER_S) -> list[Any]:
        replies = [call(shard, number) for number, shard in enumerate(self._shards)]
        return [answer(reply, limit_s) for reply in replies]


_DEATH_S = 60.0
"""How long a killed process may take to end; one that hangs in the kernel takes forever"""


class SharedMemoryStore:
    """A ``Store`` that outlives dispatchers and workers, and has a journal of their updates.

    Raises:
        ConfigError: memory is too small for its phases.
    """

    needs_confirmed_exit = True

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
        # A phase begins while the one before, whose weights it takes over, still exists.
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
                f"worker process {process.pid}: still running {_DEATH_S:g} s after SIGKILL, "
                "expected it to exit; it hangs in the kernel, and could still change shared "
                "memory"
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
            shape, recipe.optimizer, self._windows, workers=self._workers, measurements=MEASUREMENTS
        )

    @property
    def _here(self) -> SharedMemory:
        assert self._memory is not None
        return self._memory
