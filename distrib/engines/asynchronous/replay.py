"""Replays the recorded order of an asynchronous training in one process, bitwise identical."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn
from torchrec.modules.embedding_configs import EmbeddingBagConfig

from distrib.parameter_store.layout import (
    Route,
    apply_own_delta,
    digests,
    fill_arm,
    layout_of,
    parameters_of,
)
from distrib.parameter_store.shard import Parameters, Push, Served, Shard, fresh, join, part_of
from distrib.training.device_transfer import Transfer
from distrib.training.step import Progress, arm_of_phase, refuse_unfit, set_arithmetic
from distrib.training.windows import Prepared, Windows, WindowTrainer
from distrib.trials.trial import Trial
from recsys.data.click_log import ClickLog
from recsys.data.stream import Stream
from recsys.embeddings import fused_collection
from recsys.engines import AsyncEngine
from recsys.errors import ConfigError, DataError
from recsys.module import Arm

Log = Sequence[Served]


def replay(
    log: ClickLog,
    trial: Trial,
    orders: Sequence[Sequence[Log]],
    *,
    on_progress: Progress = lambda _: None,
) -> dict[str, str]:
    """Train a trial of the ``async`` engine in the recorded order of each phase's shards.

    Returns:
        the SHA-256 of every tensor by name.

    Raises:
        ConfigError: the trial is of another engine.
        DataError: the order logs are incomplete or of another trial.
    """
    recipe = trial.recipe
    if not isinstance(recipe.engine, AsyncEngine):
        raise ConfigError(f"engine.name: found {recipe.engine.name}, expected async")
    refuse_unfit(log, [trial])
    device = set_arithmetic(recipe)

    def make_embeddings(tables: list[EmbeddingBagConfig]) -> nn.Module:
        return fused_collection(tables, recipe.optimizer, device)

    if len(orders) != len(recipe.arm.phases):
        raise DataError(f"order log: found {len(orders)} phases, expected {len(recipe.arm.phases)}")
    arm: Arm | None = None
    found: dict[str, str] = {}
    stream = Stream(log, "train", recipe.stream, [trial.seeds])
    for phase, logs in zip(recipe.arm.phases, orders, strict=True):
        arm = arm_of_phase(recipe, log, [trial], phase.groups, make_embeddings, arm).to(device)
        trainer = WindowTrainer(
            recipe,
            log.schema,
            [trial.seeds],
            phase,
            batch_count=stream.batch_count,
            transfer=Transfer(device),
            delta_scale=recipe.engine.delta_scale,
        )
        layout = layout_of(arm.tables, arm.dense, 1, recipe.optimizer)
        whole = parameters_of(arm, layout, 0)
        windows = Windows(stream.batch_count, recipe.engine.window)
        one = _Replay(trainer, stream, windows, whole, logs, on_progress)
        whole = one.run()
        fill_arm(arm, layout, [whole])
        found = digests(arm, layout, whole)
    return found


@dataclass(slots=True)
class _Lease:
    """A lease whose delta is used by pushes, and by the lease that it was added to."""

    window: int
    uses: int
    carried: int
    route: Route
    prepared: Prepared
    pulled: dict[int, Parameters]
    """By shard"""
    change: Parameters | None = None


class _Replay:
    """One phase."""

    def __init__(
        self,
        trainer: WindowTrainer,
        stream: Stream,
        windows: Windows,
        start: Parameters,
        logs: Sequence[Log],
        on_progress: Progress,
    ) -> None:
        self._trainer = trainer
        self._stream = stream
        self._windows = windows
        self._logs = logs
        self._on_progress = on_progress
        self._shards = [
            Shard(fresh(part_of(start, shard, len(logs)))) for shard in range(len(logs))
        ]
        for each in (each for log in logs for each in log):
            if each.window not in range(len(windows)) or each.carried >= max(each.lease, 0):
                raise DataError(
                    f"order log: found {each}, expected a window below {len(windows)} and a change "
                    "carried over from an earlier lease"
                )
        self._next = [0] * len(logs)
        pushes = [each for log in logs for each in log if each.is_push]
        self._carried = {each.lease: each.carried for each in pushes}
        self._uses = Counter(each.lease for each in pushes)
        self._uses.update(lease for lease in self._carried.values() if lease >= 0)
        self._leases: dict[int, _Lease] = {}

    def run(self) -> Parameters:
        """Apply all order logs; return the parameters."""
        while any(at < len(log) for at, log in zip(self._next, self._logs, strict=True)):
            if not any(self._serve_what_can_be(shard) for shard in range(len(self._logs))):
                raise DataError(
                    "order log: found a push whose pull is missing, expected both on every shard"
                )
        if any(len(shard.windows) != len(self._windows) for shard in self._shards):
            raise DataError(f"order log: not all of {len(self._windows)} windows are pushed")
        return join([shard.peek() for shard in self._shards])

    def _serve_what_can_be(self, shard: int) -> bool:
        start = self._next[shard]
        log = self._logs[shard]
        while self._next[shard] < len(log) and self._serve(shard, log[self._next[shard]]):
            self._next[shard] += 1
        return self._next[shard] > start

    def _serve(self, shard: int, served: Served) -> bool:
        """Apply one entry; False if it depends on another shard."""
        if not served.is_push:
            self._pull(shard, served)
            return True
        change = self._change(served.lease)
        if change is None:
            return False
        lease = self._leases[served.lease]
        push = Push(
            window=lease.window,
            lease=served.lease,
            examples=lease.prepared.examples,
            since=self._shards[shard].version,
        )
        taken = self._shards[shard].push(
            push, lease.route.rows[shard], lease.route.part(change, shard)
        )
        if (taken is not None) != served.applied:
            raise DataError(f"order log: window {lease.window} on shard {shard}: not as recorded")
        self._used(served.lease)
        return True

    def _pull(self, shard: int, served: Served) -> None:
        if not self._uses[served.lease]:
            return  # its worker died, or its change was refused: nothing came of it
        if served.lease not in self._leases:
            self._leases[served.lease] = self._begin(served)
        lease = self._leases[served.lease]
        lease.pulled[shard] = self._shards[shard].pull(lease.route.rows[shard]).parameters

    def _begin(self, served: Served) -> _Lease:
        window = self._windows[served.window]
        batches = list(self._stream.batches(window.first_batch, window.last_batch))
        prepared = self._trainer.prepare(window, batches)
        return _Lease(
            window=served.window,
            uses=self._uses[served.lease],
            carried=self._carried.get(served.lease, -1),
            route=Route.of(prepared.rows[0], len(self._shards)),
            prepared=prepared,
            pulled={},
        )

    def _change(self, number: int) -> Parameters | None:
        """Return the delta of a lease, None while an input is missing."""
        lease = self._leases.get(number)
        if lease is None or lease.change is not None:
            return None if lease is None else lease.change
        if len(lease.pulled) < len(self._shards):
            return None
        before = None
        if lease.carried >= 0:
            before = self._change(lease.carried)
            if before is None:
                return None
        start = lease.route.join([lease.pulled[shard] for shard in range(len(self._shards))])
        if before is not None:
            apply_own_delta(start, lease.route, before, self._leases[lease.carried].route)
            self._used(lease.carried)
        (lease.change,) = self._trainer.train(lease.prepared, [start], self._on_progress).parameters
        lease.pulled.clear()
        return lease.change

    def _used(self, number: int) -> None:
        if number not in self._leases:
            raise DataError(f"order log: lease {number} is used after its end")
        lease = self._leases[number]
        lease.uses -= 1
        if not lease.uses:
            del self._leases[number]
