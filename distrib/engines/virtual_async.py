"""The ``virtual_async`` engine: W logical workers in one process, bitwise repeatable."""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import nn
from torchrec.modules.embedding_configs import EmbeddingBagConfig

from distrib.engines.asynchronous.leases import Lease, Ledger, StalenessHistogram
from distrib.errors import TrialFailed
from distrib.parameter_store.layout import Layout, fill_arm, parameters_of
from distrib.parameter_store.shard import Parameters, Pulled, Push, Rows, Shard, Version, fresh
from distrib.training.device_transfer import Transfer
from distrib.training.evaluator import Evaluator, results
from distrib.training.step import Progress, arm_of_phase, refuse_unfit, set_arithmetic
from distrib.training.windows import Windows, WindowTrainer, not_finite
from distrib.trials.trial import Trial, TrialResult
from recsys.cost import LookupCounter, sampling_interval
from recsys.data.batch import Batch
from recsys.data.click_log import ClickLog
from recsys.data.stream import Stream
from recsys.embeddings import fused_collection
from recsys.engines import ConstantDelays, Delays, ExponentialDelays, VirtualAsyncEngine
from recsys.module import Arm
from recsys.seeds import Seeds, generator


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """A pull or a push of one window."""

    window: int
    is_push: bool


def schedule(
    windows: int,
    workers: int,
    delays: Delays,
    rng: np.random.Generator,
    *,
    max_staleness: int | None = None,
    warm_up: int = 0,
) -> list[Event]:
    """Return the pull and the push of every window; pulls are in stream order.

    A worker pulls, trains for a duration from ``delays``, pushes, and pulls again immediately,
    unless ``max_staleness`` or ``warm_up`` delays it. Simultaneous pushes are in random order.
    """
    ledger = Ledger(windows, max_staleness=max_staleness, warm_up=warm_up)
    return _Simulation(ledger, delays, workers, rng).run(workers)


class _Simulation:
    def __init__(
        self, ledger: Ledger, delays: Delays, workers: int, rng: np.random.Generator
    ) -> None:
        self._ledger = ledger
        self._rng = rng
        self._duration = _durations(delays, workers, rng)
        self._idle: deque[int] = deque()
        self._training: list[tuple[float, float, int, Lease]] = []
        self._events: list[Event] = []

    def run(self, workers: int) -> list[Event]:
        self._idle.extend(self._rng.permutation(workers).tolist())
        self._put_to_work(0.0)
        while self._training:
            now, _, worker, lease = heapq.heappop(self._training)
            self._events.append(Event(window=lease.window, is_push=True))
            self._ledger.complete(lease)
            self._idle.append(worker)
            self._put_to_work(now)
        return self._events

    def _put_to_work(self, now: float) -> None:
        while self._idle:
            answer = self._ledger.grant(str(self._idle[0]), now)
            if not isinstance(answer, Lease):
                return  # what is refused to one idle worker is refused to all
            worker = self._idle.popleft()
            self._events.append(Event(window=answer.window, is_push=False))
            entry = (now + self._duration(worker), self._rng.random(), worker, answer)
            heapq.heappush(self._training, entry)


def _durations(delays: Delays, workers: int, rng: np.random.Generator) -> Callable[[int], float]:
    """Return a worker's time for a window, in units of the usual time."""
    if isinstance(delays, ConstantDelays):
        return lambda worker: 1.0
    if isinstance(delays, ExponentialDelays):
        return lambda worker: rng.exponential()
    slow = set(rng.permutation(workers)[: round(delays.share * workers)].tolist())
    return lambda worker: delays.slowdown if worker in slow else 1.0


def train(
    log: ClickLog, trials: Sequence[Trial], *, on_progress: Progress = lambda _: None
) -> list[TrialResult]:
    """Train replicas of one recipe with logical workers; each replica has its own order.

    Raises:
        ConfigError: as the local engine, and for a model with non-additive state.
        TrialFailed: a loss or a delta is NaN or infinite.
    """
    recipe = trials[0].recipe
    refuse_unfit(log, trials)
    device = set_arithmetic(recipe)

    def make_embeddings(tables: list[EmbeddingBagConfig]) -> nn.Module:
        return fused_collection(tables, recipe.optimizer, device)

    stream = Stream(log, "train", recipe.stream, [trial.seeds for trial in trials])
    watch = Evaluator(log, recipe, len(trials), device, stream.batch_count)
    counter = LookupCounter(unique_every=sampling_interval(stream.batch_count))
    staleness = [StalenessHistogram() for _ in trials]
    arm: Arm | None = None
    seconds = 0.0
    for phase in recipe.arm.phases:
        arm = arm_of_phase(recipe, log, trials, phase.groups, make_embeddings, arm).to(device)
        trainer = WindowTrainer(
            recipe,
            log.schema,
            [trial.seeds for trial in trials],
            phase,
            batch_count=stream.batch_count,
            transfer=Transfer(device),
            delta_scale=_engine(trials).delta_scale,
        )
        is_last = phase == recipe.arm.phases[-1]
        one_pass = _PhaseTraining(arm, trainer, stream, trials, phase.name, staleness)
        seconds += one_pass.run(counter, on_progress, watch if is_last else None)
    assert arm is not None
    return results(
        log,
        trials,
        arm,
        make_embeddings,
        train_lookups=counter.lookups(),
        train_examples_per_second=stream.examples * len(trials) / seconds,
        points=watch.points,
        staleness=staleness,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _PendingDelta:
    """A replica's delta between the pull and the push of its window."""

    rows: tuple[Rows, ...]
    change: Parameters
    examples: int
    since: Version


class _Replica:
    """One replica's parameters and its pending deltas."""

    def __init__(self, start: Parameters, order: Sequence[Event], staleness: StalenessHistogram):
        self._shard = Shard(fresh(start))
        self._before, self._after_all = _pushes_before_pulls(order)
        self._parked: dict[int, _PendingDelta] = {}
        self._staleness = staleness

    def pull(self, window: int, rows: tuple[Rows, ...]) -> Pulled:
        """Apply the pushes that come first, then return the window's parameters."""
        self._push(self._before[window])
        return self._shard.pull(rows)

    def park(self, window: int, parked: _PendingDelta) -> None:
        self._parked[window] = parked

    def push_rest(self) -> None:
        self._push(self._after_all)

    def parameters(self) -> Parameters:
        return self._shard.peek()

    def _push(self, windows: Sequence[int]) -> None:
        for window in windows:
            parked = self._parked.pop(window)
            push = Push(window=window, lease=window, examples=parked.examples, since=parked.since)
            seen = self._shard.push(push, parked.rows, parked.change)
            assert seen is not None
            self._staleness.add([seen])


class _PhaseTraining:
    """One phase: every window of the stream, R replicas side by side."""

    def __init__(
        self,
        arm: Arm,
        trainer: WindowTrainer,
        stream: Stream,
        trials: Sequence[Trial],
        phase: str,
        staleness: Sequence[StalenessHistogram],
    ) -> None:
        engine = _engine(trials)
        self._arm = arm
        self._trainer = trainer
        self._stream = stream
        self._windows = Windows(stream.batch_count, engine.window)
        self._replicas = [
            _Replica(
                parameters_of(arm, trainer.layout, replica),
                order_of(len(self._windows), engine, trial.seeds, phase),
                staleness[replica],
            )
            for replica, trial in enumerate(trials)
        ]

    def run(self, counter: LookupCounter, on_progress: Progress, watch: Evaluator | None) -> float:
        """Train; the arm then has the weights. Return the seconds without evaluation."""
        batches = self._stream.batches()
        seconds, started = 0.0, time.perf_counter()
        for window in self._windows:
            in_window = list(islice(batches, window.last_batch - window.first_batch))
            for batch in in_window:
                counter.count(self._arm.tables, batch, again=watch is None)
            losses = self._train(window.number, in_window, on_progress)
            if window.number == len(self._windows) - 1:
                for replica in self._replicas:
                    replica.push_rest()
            if watch is not None:
                watch.add(losses, sum(batch.examples for batch in in_window))
                if watch.is_due(window.first_batch, window.last_batch):
                    seconds += time.perf_counter() - started
                    self._fill_arm()
                    watch.evaluate(self._arm)
                    started = time.perf_counter()
        self._fill_arm()
        return seconds + time.perf_counter() - started

    def _train(self, number: int, batches: list[Batch], on_progress: Progress) -> torch.Tensor:
        prepared = self._trainer.prepare(self._windows[number], batches)
        pulled = [
            replica.pull(number, rows)
            for replica, rows in zip(self._replicas, prepared.rows, strict=True)
        ]
        change = self._trainer.train(prepared, [each.parameters for each in pulled], on_progress)
        if not change.is_finite:
            # To try again, as the async engine does, would give the same: nothing here is random.
            raise TrialFailed(not_finite(self._windows[number]))
        for replica, rows, from_, by in zip(
            self._replicas, prepared.rows, pulled, change.parameters, strict=True
        ):
            replica.park(
                number,
                _PendingDelta(
                    rows=rows, change=by, examples=prepared.examples, since=from_.version
                ),
            )
        return torch.from_numpy(change.progressive_loss)

    def _fill_arm(self) -> None:
        layout: Layout = self._trainer.layout
        fill_arm(self._arm, layout, [replica.parameters() for replica in self._replicas])


def order_of(windows: int, engine: VirtualAsyncEngine, seeds: Seeds, phase: str) -> list[Event]:
    """Return the order of one replica's pulls and pushes in a phase."""
    return schedule(
        windows,
        engine.workers,
        engine.delays,
        generator(seeds.asynchrony, "asynchrony", phase),
        max_staleness=engine.max_staleness,
        warm_up=engine.warm_up,
    )


def _pushes_before_pulls(order: Sequence[Event]) -> tuple[list[list[int]], list[int]]:
    """Return the windows pushed between each pull and the previous one, and after the last."""
    before: list[list[int]] = []
    pushes: list[int] = []
    for event in order:
        if event.is_push:
            pushes.append(event.window)
        else:
            before.append(pushes)
            pushes = []
    return before, pushes


def _engine(trials: Sequence[Trial]) -> VirtualAsyncEngine:
    engine = trials[0].recipe.engine
    assert isinstance(engine, VirtualAsyncEngine)
    return engine
