"""The server store as the driver sees it: shards are actors that start and stop together."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import ray
import torch
from torch import nn
from torchrec.modules.embedding_configs import EmbeddingBagConfig

from distrib.engines.asynchronous.messages import Servers
from distrib.engines.asynchronous.rpc import ANSWER_S, ServersLost, answer
from distrib.engines.asynchronous.store import Named, ResumePoint
from distrib.parameter_store.layout import Layout, digests, fill_arm, layout_of, parameters_of
from distrib.parameter_store.parameters import Parameters, join, part_of
from distrib.parameter_store.shard import Served, ShardState, fresh
from distrib.parameter_store.shard_server import ShardServer
from distrib.scheduling.processes import available_bytes
from distrib.training.step import arm_of_phase, shape_of_phase
from distrib.trials.trial import Trial
from recsys.arms import Phase
from recsys.data.click_log import ClickLog
from recsys.embeddings import fused_collection
from recsys.engines import AsyncEngine
from recsys.errors import ConfigError
from recsys.module import Arm

_COPIES = 5
"""Of a phase's parameters, at most at once, on the driver's machine: the arm, what the phase began
with, and, while the weights are fetched anew, those that were fetched before, what the shards send
(in Ray's object store) and what it is joined to"""

_WRITE_S = 3600.0
"""So long a shard may take to write a snapshot of its part"""
_SILENT_LEASES = 4
"""A shard that is silent for so long is taken for dead, before its workers' window is blamed"""


class ServerStore:
    """A ``Store``. The driver's arm is a copy, filled when it is asked for."""

    waits_for_death = False  # a shard takes each window once, whoever pushes it

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
        """Ask every shard that answered the last time for another sign of life."""
        ready, _ = ray.wait(self._signs, num_returns=len(self._signs), timeout=0)
        now = time.monotonic()
        for number, shard in enumerate(self._shards):
            if self._signs[number] in ready:
                answer(self._signs[number])
                self._signs[number] = shard.version.remote()
                self._overdue_at[number] = now + _SILENT_LEASES * self._engine.lease_s
            elif now > self._overdue_at[number]:
                raise ServersLost(f"shard {number} gives no sign of life")

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
                f"engine.store: server needs {_COPIES * one / 1e9:.3g} GB where the driver is, for "
                f"{_COPIES} copies of tables, optimiser state and towers, to start from and to "
                f"evaluate; found {free / 1e9:.3g} GB of memory available, expected as much, or "
                "smaller tables"
            )

    def _of_shards(self, call: Callable[[Any, int], Any], limit_s: float = ANSWER_S) -> list[Any]:
        replies = [call(shard, number) for number, shard in enumerate(self._shards)]
        return [answer(reply, limit_s) for reply in replies]
