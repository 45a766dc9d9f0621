"""What one rank does, from a checkpoint or from nothing to the end of the last phase.

Nothing here knows of Ray: ranks meet in a process group, whoever started them.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from torchrec.distributed.train_pipeline import TrainPipelineSparseDist

from distrib.evaluation import Watch
from distrib.prefetch import Prefetched
from distrib.sync import checkpoints
from distrib.sync.account import Account, Progress
from distrib.sync.input import Part, training_parts
from distrib.sync.ranks import Ranks
from distrib.sync.served import served_by_all
from distrib.sync.sharded import ShardedArm
from distrib.sync.step import Answer
from distrib.sync.tracking import Tracker, evaluation_scalars, training_scalars
from distrib.training import Progress as Told
from recsys.config import Recipe
from recsys.cost import sampling_interval
from recsys.data.click_log import ClickLog
from recsys.data.stream import Batches, Stream
from recsys.engines import SyncEngine
from recsys.seeds import Seeds


@dataclass(frozen=True, kw_only=True, slots=True)
class Surroundings:
    """Where a rank's doings go; progress and scalars are the first rank's to tell."""

    checkpoint: Callable[[ShardedArm, Progress], None]
    """Keeps the state of a training; called on all ranks at the same batch"""
    on_progress: Told
    tracker: Tracker


class RankTraining:
    """A training of replicas side by side, as one of the ranks does it.

    Raises:
        TrialFailed: a replica predicts NaN or infinity; on every rank.
    """

    def __init__(
        self,
        recipe: Recipe,
        log: ClickLog,
        seeds: Sequence[Seeds],
        ranks: Ranks,
        around: Surroundings,
    ) -> None:
        assert isinstance(recipe.engine, SyncEngine)
        self._recipe = recipe
        self._engine = recipe.engine
        self._log = log
        self._seeds = tuple(seeds)
        self._ranks = ranks
        self._around = around
        self._stream = Stream(log, "train", recipe.stream, seeds)
        self._unique_every = sampling_interval(self._stream.batch_count)
        watch = Watch(log, recipe, len(seeds), ranks.device, self._stream.batch_count)
        self._account = Account(len(seeds), watch, ranks.device)

    def run(self, start: Path | None) -> None:
        """Train from a checkpoint, or from nothing, and leave one at the end of each phase."""
        begun = None if start is None else checkpoints.read_progress(start)
        before: ShardedArm | None = None
        for number, phase in enumerate(self._recipe.arm.phases):
            if begun is not None and number < begun.phase:
                continue
            sharded = ShardedArm(self._recipe, self._log.schema, self._seeds, phase, self._ranks)
            first = 0
            if before is not None:
                sharded.take_over(before)
            elif start is not None and begun is not None:
                checkpoints.read(start, sharded, begun.batches)
                self._account.go_back(begun)
                first = begun.batches
            self._train(number, sharded, first)
            before = sharded

    def _train(self, phase: int, sharded: ShardedArm, first: int) -> None:
        count, engine = self._stream.batch_count, self._engine
        is_last = phase == len(self._recipe.arm.phases) - 1
        pipeline = TrainPipelineSparseDist(sharded.model, sharded.optimizer, self._ranks.device)
        fed: deque[Part] = deque()
        with self._parts(first) as parts:
            feed = _remembered(parts, fed)  # the pipeline takes parts before it trains on them
            began = time.perf_counter()
            for number in range(first, count):
                answer = pipeline.progress(feed)
                self._note(sharded, number, fed.popleft(), answer)
                began = self._account.lap(began)
                done = number + 1
                if done % engine.track_every == 0:
                    self._settle(phase, done)
                if is_last and self._account.watch.is_due(number, done):
                    pipeline.detach()
                    self._evaluate(phase, sharded, done)
                    pipeline.attach()
                    began = time.perf_counter()
                if done % engine.checkpoint_every == 0 or done == count:
                    self._checkpoint(phase, sharded, done)
                    began = time.perf_counter()
        pipeline.detach()

    @contextmanager
    def _parts(self, first: int) -> Iterator[Iterable[Part]]:
        parts = training_parts(self._stream, self._ranks, start=first)
        if self._ranks.device.type == "cpu":
            yield parts  # measured: where every core trains, a thread that works ahead wins nothing
        else:
            with Prefetched(parts) as ahead:
                yield ahead

    def _note(self, sharded: ShardedArm, number: int, fed: Part, answer: Answer) -> None:
        self._account.add(sharded.arm.tables, fed, answer)
        if self._ranks.is_first:
            self._around.on_progress(fed.batch_examples * len(self._seeds))
            if number % self._unique_every == 0:
                (whole,) = self._stream.batches(number, number + 1)
                self._account.count_unique(sharded.arm.tables, whole)

    def _settle(self, phase: int, done: int) -> None:
        is_last = phase == len(self._recipe.arm.phases) - 1
        settled = self._account.settle(is_last_phase=is_last)
        if settled.batches and self._ranks.is_first:
            name = self._recipe.arm.phases[phase].name
            scalars = training_scalars(settled, name, served=is_last)
            self._around.tracker.tell(self._examples(phase, done), scalars)

    def _evaluate(self, phase: int, sharded: ShardedArm, done: int) -> None:
        self._settle(phase, done)
        sharded.agree()
        watch, evaluation = self._account.watch, self._recipe.evaluation
        batches = Batches(self._log, len(self._seeds))
        watch.add_point(served_by_all(sharded, batches, watch.rows, evaluation.batch_size))
        if self._ranks.is_first:
            scalars = evaluation_scalars(self._log, watch.points[-1])
            self._around.tracker.tell(self._examples(phase, done), scalars)

    def _checkpoint(self, phase: int, sharded: ShardedArm, done: int) -> None:
        self._settle(phase, done)
        sharded.agree()
        progress = self._account.progress(phase, done, self._examples(phase, done))
        self._around.checkpoint(sharded, progress)

    def _examples(self, phase: int, done: int) -> int:
        """Return how many examples of a replica were trained on, in all phases."""
        size = self._recipe.stream.batch_size
        return phase * self._stream.examples + min(done * size, self._stream.examples)


def _remembered(parts: Iterable[Part], memory: deque[Part]) -> Iterator[Part]:
    for each in parts:
        memory.append(each)
        yield each
