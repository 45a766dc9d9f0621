"""The program of every rank under Ray Train, from a checkpoint or scratch to the last phase."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch.distributed as dist
from ray.train import Checkpoint
from torchrec.distributed.train_pipeline import TrainPipelineSparseDist

from distrib.engines.synchronous import checkpoints
from distrib.engines.synchronous.metrics import (
    MLFLOW_RUN,
    MetricsState,
    NullTracker,
    Tracker,
    TrainingMetrics,
    evaluation_scalars,
    files_of,
    tracker,
    training_scalars,
)
from distrib.engines.synchronous.run import Run
from distrib.engines.synchronous.sharded_arm import ShardedArm, serving_state
from distrib.engines.synchronous.sharding_plan import refuse_unavailable
from distrib.engines.synchronous.status_actor import RankProgressReporter
from distrib.engines.synchronous.step import Part, RankGroup, StepOutput, training_parts
from distrib.errors import TrialFailed
from distrib.training.device_transfer import Prefetched
from distrib.training.evaluator import Evaluator
from distrib.training.step import Progress as Told
from distrib.training.step import set_threads
from distrib.trials.trial import Trial
from recsys.config import Recipe
from recsys.cost import sampling_interval
from recsys.data.click_log import ClickLog
from recsys.data.stream import Batches, Stream
from recsys.engines import SyncEngine
from recsys.errors import ConfigError, DataError
from recsys.files import make_private
from recsys.seeds import Seeds


@dataclass(frozen=True, kw_only=True, slots=True)
class RankContext:
    """A rank's outputs; only the first rank reports progress and scalars."""

    checkpoint: Callable[[ShardedArm, MetricsState], None]
    """Keeps the state of a training; called on all ranks at the same batch"""
    on_progress: Told
    tracker: Tracker


class RankTraining:
    """A training of replicas side by side, on one rank.

    Raises:
        TrialFailed: a replica predicts NaN or infinity; raised on every rank.
    """

    def __init__(
        self,
        recipe: Recipe,
        log: ClickLog,
        seeds: Sequence[Seeds],
        ranks: RankGroup,
        around: RankContext,
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
        watch = Evaluator(log, recipe, len(seeds), ranks.device, self._stream.batch_count)
        self._metrics = TrainingMetrics(len(seeds), watch, ranks.device)

    def run(self, start: Path | None) -> None:
        """Train, optionally from a checkpoint, and write one at the end of each phase."""
        begun = None if start is None else checkpoints.read_progress(start)
        before: ShardedArm | None = None
        for number, phase in enumerate(self._recipe.arm.phases):
            if begun is not None and number < begun.phase:
                continue
            sharded = ShardedArm(self._recipe, self._log.schema, self._seeds, phase, self._ranks)
            first = 0
            if before is not None:
                sharded.load_previous_phase(before)
            elif start is not None and begun is not None:
                checkpoints.read(start, sharded, begun.batches)
                self._metrics.go_back(begun)
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
                began = self._metrics.lap(began)
                done = number + 1
                if done % engine.track_every == 0:
                    self._reduce_metrics(phase, done)
                if is_last and self._metrics.watch.is_due(number, done):
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

    def _note(self, sharded: ShardedArm, number: int, fed: Part, answer: StepOutput) -> None:
        self._metrics.add(sharded.arm.tables, fed, answer)
        if self._ranks.is_first:
            self._around.on_progress(fed.batch_examples * len(self._seeds))
            if number % self._unique_every == 0:
                (whole,) = self._stream.batches(number, number + 1)
                self._metrics.count_unique(sharded.arm.tables, whole)

    def _reduce_metrics(self, phase: int, done: int) -> None:
        is_last = phase == len(self._recipe.arm.phases) - 1
        reduced = self._metrics.reduce_over_ranks(is_last_phase=is_last)
        if reduced.batches and self._ranks.is_first:
            name = self._recipe.arm.phases[phase].name
            scalars = training_scalars(reduced, name, served=is_last)
            self._around.tracker.tell(self._examples(phase, done), scalars)

    def _evaluate(self, phase: int, sharded: ShardedArm, done: int) -> None:
        self._reduce_metrics(phase, done)
        sharded.average_buffers()
        watch, evaluation = self._metrics.watch, self._recipe.evaluation
        batches = Batches(self._log, len(self._seeds))
        watch.add_point(serving_state(sharded, batches, watch.rows, evaluation.batch_size))
        if self._ranks.is_first:
            scalars = evaluation_scalars(self._log, watch.points[-1])
            self._around.tracker.tell(self._examples(phase, done), scalars)

    def _checkpoint(self, phase: int, sharded: ShardedArm, done: int) -> None:
        self._reduce_metrics(phase, done)
        sharded.average_buffers()
        progress = self._metrics.progress(phase, done, self._examples(phase, done))
        self._around.checkpoint(sharded, progress)

    def _examples(self, phase: int, done: int) -> int:
        """Return the number of examples of a replica trained so far, in all phases."""
        size = self._recipe.stream.batch_size
        return phase * self._stream.examples + min(done * size, self._stream.examples)


def _remembered(parts: Iterable[Part], memory: deque[Part]) -> Iterator[Part]:
    for each in parts:
        memory.append(each)
        yield each


_UNTIL_ENDED_S = 60.0
HOPELESS = (ConfigError, DataError, TrialFailed)
"""What would end the next try too"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """The job of the ranks."""

    log_directory: Path
    trials: Sequence[Trial]
    training: str
    """Digest of all that decides the model"""
    place: str
    """Path or URI, in whose runs this one is; all ranks reach it"""
    name: str
    """Of the run"""
    resume: str | None
    """Path or URI of a checkpoint of another run, for a run that has none"""
    environment: Mapping[str, str] = field(repr=False)
    """What trackers want to know, of the driver's environment"""
    status_actor: Any

    def run(self) -> Run:
        """Return the run on this machine."""
        # The same for all ranks of a node; what a killed one left there, the next one replaces.
        # Elsewhere the same trials are another run.
        elsewhere = hashlib.sha256(self.place.encode()).hexdigest()[:8]
        return Run(self.place, self.name, self.resume, _scratch() / elsewhere)


def _scratch() -> Path:
    """Return this node's directory for files of a remote run."""
    return Path(tempfile.gettempdir(), f"soloist-{os.getuid()}-ranks")


def work(job: Job) -> None:
    """Train as this process's rank."""
    try:
        _work(job)
    except HOPELESS as error:
        ray.get(job.status_actor.failed.remote(error))
        time.sleep(_UNTIL_ENDED_S)  # by the driver: raised at once, Ray Train would start all again
        raise


def _work(job: Job) -> None:
    recipe = job.trials[0].recipe
    ranks = _ranks()
    set_threads(recipe)
    refuse_unavailable(recipe, ranks.device)
    log = ClickLog.open(job.log_directory)
    if log.fingerprint != job.trials[0].data_fingerprint:
        raise DataError(f"{job.log_directory}: not the click log of the trial's plan")
    os.environ.update(job.environment)
    run = job.run()
    make_private(_scratch())
    run.here.mkdir(mode=0o700, parents=True, exist_ok=True)
    run.download_file(MLFLOW_RUN)
    start = _agreed(job, run, ranks)
    seen = 0 if start is None else checkpoints.read_progress(start).examples
    reporter = RankProgressReporter(job.status_actor, start=seen * len(job.trials))
    told = tracker(recipe, run.here, start=seen) if ranks.is_first else NullTracker()
    training = RankTraining(
        recipe,
        log,
        [trial.seeds for trial in job.trials],
        ranks,
        RankContext(
            checkpoint=partial(_checkpoint, job.training, run, reporter),
            on_progress=reporter,
            tracker=told,
        ),
    )
    training.run(start)
    told.close()
    if ranks.is_first:
        run.send(*files_of(run.here))
    dist.barrier()  # the ranks of a node share what is cleared
    run.clear()


def _ranks() -> RankGroup:
    context = ray.train.get_context()
    # TorchRec asks the environment how many ranks a node has.
    os.environ["LOCAL_WORLD_SIZE"] = str(context.get_local_world_size())
    return RankGroup(
        rank=context.get_world_rank(),
        count=context.get_world_size(),
        per_node=context.get_local_world_size(),
        device=ray.train.torch.get_device(),
    )


def _agreed(job: Job, run: Run, ranks: RankGroup) -> Path | None:
    """Return the checkpoint that all ranks resume from; the first rank selects it."""
    chosen: list[Path | None] = [None]
    if ranks.is_first:
        chosen = [run.newest_or_resumed(job.training)]
    dist.broadcast_object_list(chosen, src=0)
    if chosen[0] is not None and _is_first_of_node() and not ranks.is_first:
        run.bring(chosen[0])
    dist.barrier()
    return chosen[0]


def _is_first_of_node() -> bool:
    return ray.train.get_context().get_local_rank() == 0


def _checkpoint(
    training: str,
    run: Run,
    reporter: RankProgressReporter,
    sharded: ShardedArm,
    progress: MetricsState,
) -> None:
    if sharded.ranks.is_first:
        reporter.flush()  # writing takes a while
        run.send(*files_of(run.here))
    with tempfile.TemporaryDirectory() as place:
        checkpoints.write(Path(place), sharded, progress, training)
        ray.train.report({}, checkpoint=Checkpoint.from_directory(place))
