"""Entry point of the ``async`` engine: trials in, results out."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from typing import Any

import ray
import torch
from torch import nn
from torchrec.modules.embedding_configs import EmbeddingBagConfig

from distrib.engines.asynchronous.leases import StalenessHistogram
from distrib.engines.asynchronous.messages import Seconds, TrainingProgress
from distrib.engines.asynchronous.phase_runner import (
    PhaseResult,
    PhaseRunner,
    Training,
    progress_of,
)
from distrib.engines.asynchronous.shared_memory_worker import SharedMemoryWorker
from distrib.engines.asynchronous.stores import ServerStore, SharedMemoryStore, Store
from distrib.engines.asynchronous.worker import BaseWorker, Worker
from distrib.engines.asynchronous.worker_pool import WorkerPool
from distrib.parameter_store.recording import Recording, order_table
from distrib.parameter_store.snapshots import SnapshotStore, claimed
from distrib.scheduling.resources import living_nodes, reservation, training_requirements
from distrib.scheduling.session import ray_session
from distrib.training.evaluator import Evaluator, results
from distrib.training.step import Progress as Told
from distrib.training.step import refuse_unfit, set_threads
from distrib.training.windows import Windows
from distrib.trials.trial import Trial, TrialResult
from recsys.cost import LookupCounter
from recsys.data.click_log import ClickLog
from recsys.data.stream import Stream
from recsys.embeddings import fused_collection
from recsys.engines import AsyncEngine
from recsys.module import Arm

_CPU = torch.device("cpu")
_log = logging.getLogger(__name__)


def train(
    log: ClickLog, trials: Sequence[Trial], *, on_progress: Told = lambda _: None
) -> list[TrialResult]:
    """Train trials one after another, each on as many workers as its recipe specifies.

    Starts a local Ray if none is running. This process has the whole model, to start from and to
    evaluate; workers have the rows of their windows only. With ``snapshots``, training resumes from
    the trial's newest snapshot.

    Raises:
        ConfigError: as the local engine; for a model with non-additive state; or if one machine has
            no room for workers that must start together.
        DataError: snapshots of another version, or in use by another run.
        TrialFailed: a window gave NaN or infinity twice, or crashed several workers.
    """
    refuse_unfit(log, trials)
    set_threads(trials[0].recipe)
    with ray_session():
        return [_train(log, trial, on_progress) for trial in trials]


def _train(log: ClickLog, trial: Trial, on_progress: Told) -> TrialResult:
    engine = trial.recipe.engine
    assert isinstance(engine, AsyncEngine)
    if engine.start_with > 1:
        reservation(trial.recipe, living_nodes())  # refuses workers that would wait forever
    run = uuid.uuid4().hex[:12]
    with claimed(engine.snapshots, trial, run) as place:
        return _train_from(log, trial, run, place, on_progress)


def _train_from(
    log: ClickLog, trial: Trial, run: str, place: SnapshotStore | None, on_progress: Told
) -> TrialResult:
    """Train a trial, from its newest snapshot if there is one."""
    recipe, engine = trial.recipe, trial.recipe.engine
    assert isinstance(engine, AsyncEngine)
    newest = None if place is None else place.newest()
    passed: tuple[PhaseResult, ...] = () if newest is None else progress_of(newest).passed
    resumed = len(passed)
    del newest  # the phase that it is of reads it again, once the workers are there
    stream = Stream(log, "train", recipe.stream, [trial.seeds])
    watch = Evaluator(log, recipe, 1, _CPU, stream.batch_count)
    windows = Windows(stream.batch_count, engine.window)
    with _create_store_and_pool(log, trial, run, windows) as (store, pool):
        reporter = _ExampleReporter(on_progress)
        training = Training(
            run=run,
            trial=trial.digest,
            engine=engine,
            windows=windows,
            store=store,
            pool=pool,
            snapshots=place,
            report_progress=reporter,
        )
        for number, phase in enumerate(recipe.arm.phases):
            if number:
                store.begin(number, phase)
            if number < len(passed):
                continue  # a snapshot of a later phase has all of its weights
            is_last = number == len(recipe.arm.phases) - 1
            one_pass = PhaseRunner(
                training,
                number,
                watch if is_last else None,
                passed,
                is_resumed=0 < number == resumed,
            )
            reporter.next_phase()
            passed = (*passed, one_pass.run())
    recording = None
    if engine.record:
        recording = Recording(
            order=order_table([each.orders for each in passed]),
            digests=store.digests(),
        )
    result = _result(log, trial, store.arm(), passed, watch, recording)
    if place is not None:
        result.provenance["snapshots_passed_over"] = place.passed_over
    return result


@contextmanager
def _create_store_and_pool(
    log: ClickLog, trial: Trial, run: str, windows: Windows
) -> Iterator[tuple[Store, WorkerPool]]:
    """Create the store of a trial, at the start of its first phase, and its workers.

    Raises:
        ConfigError: the model does not fit into the store.
    """
    recipe, engine = trial.recipe, trial.recipe.engine
    assert isinstance(engine, AsyncEngine)
    worker: type[BaseWorker]
    store: Store
    if engine.store == "shared_memory":
        worker, store = SharedMemoryWorker, SharedMemoryStore(log, trial, engine, windows, run)
    else:
        worker, store = Worker, ServerStore(log, trial, engine)

    def start_worker(name: str, place: int) -> Any:
        options = training_requirements(recipe) | store.worker_options()
        actor = ray.remote(worker).options(name=f"soloist-{run}/{name}", **options)
        return actor.remote(name, place, log.directory.resolve(), trial)

    with ExitStack() as stack:
        stack.callback(store.close)
        store.begin(0, recipe.arm.phases[0])
        pool = WorkerPool(engine.workers, start_worker, store.ensure_stopped)
        stack.callback(pool.close)
        yield store, pool


class _ExampleReporter:
    """Reports progress as newly trained examples; retrained examples are reported once."""

    def __init__(self, on_progress: Told) -> None:
        self._on_progress = on_progress
        self._reported = 0

    def __call__(self, seen: TrainingProgress) -> None:
        if seen.examples > self._reported:
            self._on_progress(seen.examples - self._reported)
            self._reported = seen.examples

    def next_phase(self) -> None:
        """Start counting from zero."""
        self._reported = 0


def _result(
    log: ClickLog,
    trial: Trial,
    arm: Arm,
    passed: Sequence[PhaseResult],
    watch: Evaluator,
    recording: Recording | None,
) -> TrialResult:
    def make_embeddings(tables: list[EmbeddingBagConfig]) -> nn.Module:
        return fused_collection(tables, trial.recipe.optimizer, _CPU)

    lookups, staleness = LookupCounter(), StalenessHistogram()
    for each in passed:
        lookups.add(each.seen.lookups)
        staleness.merge(each.seen.staleness)
    seconds = sum(each.train_seconds for each in passed)
    (result,) = results(
        log,
        [trial],
        arm,
        make_embeddings,
        train_lookups=lookups.lookups(),
        train_examples_per_second=passed[-1].seen.examples / seconds,
        points=watch.points,
        staleness=[staleness],
    )
    torn = sum(each.seen.torn_batches for each in passed)
    if torn:
        _log.warning(
            "trial %s: a worker was killed during the update of %d batches, which may be "
            "partially applied",
            trial.digest,
            torn,
        )
    report_progress = result.provenance | {
        "workers": _time_by_activity(passed),
        "torn_batches": torn,
    }
    return replace(result, recording=recording, provenance=report_progress)


def _time_by_activity(passed: Sequence[PhaseResult]) -> dict[str, Any]:
    """Return the average time of a window by activity, and its network traffic."""
    windows = sum(each.seen.windows for each in passed)
    seconds = Seconds()
    for each in passed:
        seconds.add(each.seen.seconds)
    return {
        "windows": windows,
        "seconds_per_window": {k: v / windows for k, v in asdict(seconds).items()},
        "bytes_pulled_per_window": sum(each.seen.bytes_pulled for each in passed) / windows,
        "bytes_pushed_per_window": sum(each.seen.bytes_pushed for each in passed) / windows,
    }
