"""The sync engine's way in: trials in, results out. Ray Train places and restarts the ranks."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import ray
import torch
from ray.exceptions import RayError
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2._internal.execution.callback import ControllerCallback
from ray.train.v2.api.exceptions import TrainingFailedError
from torch import nn
from torchrec.modules.embedding_configs import EmbeddingBagConfig

from distrib.errors import TrialFailed
from distrib.evaluation import results
from distrib.resources import Resources, living_nodes, may_grow, worker_resources
from distrib.session import ray_session
from distrib.sync import checkpoints
from distrib.sync.board import Board, News
from distrib.sync.plan import refuse_sharding, sharding_kinds, sharding_plan
from distrib.sync.refusals import refuse_unavailable
from distrib.sync.worker import Job, work
from distrib.training import Progress as Told
from distrib.training import refuse_unfit, set_threads, shape_of_phase
from distrib.trial import Trial, TrialResult, code_digest, library_versions
from recsys.config import Recipe
from recsys.data.click_log import ClickLog
from recsys.data.stream import Stream
from recsys.embeddings import fused_collection
from recsys.engines import SyncEngine
from recsys.errors import ConfigError
from recsys.module import Arm

_PLACEMENT = {
    "workers",
    "sharding",
    "table_sharding",
    "device",
    "threads",
    "compile",
}
_HOUSEKEEPING = {
    "storage",
    "checkpoint_every",
    "checkpoints_kept",
    "resume",
    "max_failures",
    "tracking",
    "track_every",
}
_CPU = torch.device("cpu")
_POLL_S = 0.5
_ABORT_S = 15.0
_RAY_TRAIN = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # as long a report takes, at most
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "15",  # after which fewer ranks will do
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # a user's own model is found from where the driver is
}


def train(
    log: ClickLog,
    trials: Sequence[Trial],
    *,
    on_progress: Told = lambda _: None,
    directory: Path | None = None,
) -> list[TrialResult]:
    """Train replicas side by side, on ranks that train every batch together.

    Checkpoints and scalars go to ``runs/NAME`` in ``engine.storage`` or else ``directory``, NAME
    being that of the trials; where a whole checkpoint is there, training goes on from it.

    Args:
        log: the click log; ranks open it by its path.
        trials: replicas of one recipe.
        on_progress: called with examples trained; what is trained again is told again.
        directory: one that all nodes reach; None: a temporary one.

    Raises:
        ConfigError: the trials differ in more than their seeds, or what is asked for cannot work.
        DataError: a checkpoint is of another training.
        TrialFailed: a replica diverged, or more ranks were lost than ``max_failures``.
    """
    refuse_unfit(log, trials)
    recipe = trials[0].recipe
    assert isinstance(recipe.engine, SyncEngine)
    set_threads(recipe)
    with ray_session(), _place(recipe.engine.storage, directory) as place:
        resources = worker_resources(recipe, living_nodes())
        _refuse_too_many(recipe.engine, resources, living_nodes())
        device = torch.device("cuda" if resources["GPU"] else "cpu")
        refuse(recipe, log, trials, device)
        run = place / "runs" / run_name(trials)
        run.mkdir(parents=True, exist_ok=True)
        training = training_digest(trials)
        begin_with = recipe.engine.resume
        if begin_with is not None:
            checkpoints.check(Path(begin_with), training)
        if _finished(run, training, recipe, log, trials) is None:
            board: Any = ray.remote(num_cpus=0)(Board).remote()
            job = Job(
                log_directory=log.directory.resolve(),
                trials=tuple(trials),
                training=training,
                run=run,
                begin_with=None if begin_with is None else Path(begin_with).resolve(),
                board=board,
            )
            try:
                _Fit(job, resources, on_progress).run()
            finally:
                ray.kill(board)
        finished = _finished(run, training, recipe, log, trials)
        if finished is None:
            raise TrialFailed(f"{run}: Ray Train ended, but left no whole checkpoint of the end")
        return _results(log, trials, finished, device)


def refuse(recipe: Recipe, log: ClickLog, trials: Sequence[Trial], device: torch.device) -> None:
    """Refuse, before any rank starts, what cannot work with any number of ranks asked for.

    Raises:
        ConfigError: says what was found and what would work.
    """
    assert isinstance(recipe.engine, SyncEngine)
    refuse_unavailable(recipe, device)
    least, most = recipe.engine.worker_range
    for phase in recipe.arm.phases:
        seeds = [trial.seeds for trial in trials]
        tables = shape_of_phase(recipe, log.schema, seeds, phase.groups).tables
        kinds = sharding_kinds(recipe.engine, tables)
        refuse_sharding(kinds, tables, recipe.optimizer, device)
        for ranks in {least, most}:
            sharding_plan(
                tables,
                kinds,
                recipe.optimizer,
                device=device,
                ranks=ranks,
                ranks_per_node=ranks,
                batch_size=-(-recipe.stream.batch_size // ranks),
            )


def _refuse_too_many(engine: SyncEngine, each: Resources, nodes: Sequence[Resources]) -> None:
    """Refuse more ranks than a Ray of one node will ever have room for: they would wait for ever.

    Raises:
        ConfigError: says what there is.
    """
    if may_grow(nodes):
        return
    least, _ = engine.worker_range
    for name, amount in each.items():
        there = nodes[0].get(name, 0)
        if least * amount > there:
            raise ConfigError(
                f"engine.workers: found {least} ranks of {amount:g} {name} each, "
                f"expected at most {there:g} {name} together, all that Ray has"
            )


def run_name(trials: Sequence[Trial]) -> str:
    """Return the name of the run that trains these trials side by side."""
    if len(trials) == 1:
        return trials[0].digest
    return hashlib.sha256(" ".join(each.digest for each in trials).encode()).hexdigest()[:16]


def training_digest(trials: Sequence[Trial]) -> str:
    """Return a hash of all that decides the model, but for how it is placed and watched.

    Checkpoints of trainings with one digest can go on from each other.
    """
    deciding = [each.as_dict() for each in trials]
    for each in deciding:
        for field in _PLACEMENT | _HOUSEKEEPING:
            each["recipe"]["engine"].pop(field)
    whole = {
        "trials": deciding,
        "code": code_digest(trials[0].recipe.model),
        "libraries": library_versions(),
    }
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:16]


class _Fit:
    """One call of Ray Train, in a thread: here the main thread tells progress, and can stop it."""

    def __init__(self, job: Job, resources: Resources, on_progress: Told) -> None:
        self._job = job
        self._resources = resources
        self._on_progress = on_progress
        self._controller: Any = None
        self._failure: Exception | None = None
        self._error: BaseException | None = None

    def run(self) -> None:
        """Return when the training is done.

        Raises:
            TrialFailed: it cannot be done.
        """
        for name, value in _RAY_TRAIN.items():
            os.environ.setdefault(name, value)
        thread = threading.Thread(target=self._fit, name="ray-train", daemon=True)
        thread.start()
        try:
            while thread.is_alive():
                thread.join(_POLL_S)
                self._learn()
                if self._failure is not None:
                    raise self._failure
            self._learn()
            if self._failure is not None:
                raise self._failure
        finally:
            self._end(thread)
        if self._error is not None:
            raise self._error

    def _learn(self) -> None:
        news: News = ray.get(self._job.board.news.remote())
        self._controller, self._failure = news.controller, news.failure
        if news.examples:
            self._on_progress(news.examples)

    def _end(self, thread: threading.Thread) -> None:
        """Leave no rank behind, whatever ended this."""
        if thread.is_alive():
            self._controller = self._controller or ray.get(self._job.board.news.remote()).controller
        if thread.is_alive() and self._controller is not None:
            with suppress(RayError):  # it ends with the call
                ray.get(self._controller.abort.remote(), timeout=_ABORT_S)
            thread.join(_ABORT_S)

    def _fit(self) -> None:
        try:
            _trainer(self._job, self._resources).fit()
        except TrainingFailedError as error:
            reason = str(error).strip().splitlines()[-1]
            self._error = TrialFailed(f"{self._job.run}: ranks failed too often: {reason}")
            self._error.__cause__ = error
        except BaseException as error:  # the main thread raises it
            self._error = error


class _Introduction(ControllerCallback):
    """Tells the driver who controls the ranks: Ray Train itself does not say."""

    def __init__(self, board: Any) -> None:
        self._board = board

    def after_controller_start(self, train_run_context: Any) -> None:
        ray.get(self._board.controlled_by.remote(ray.get_runtime_context().current_actor))


def _trainer(job: Job, resources: Resources) -> TorchTrainer:
    engine = job.trials[0].recipe.engine
    assert isinstance(engine, SyncEngine)
    least, most = engine.worker_range
    on_gpu = resources["GPU"] > 0
    return TorchTrainer(
        partial(work, job),
        torch_config=TorchConfig(backend="nccl" if on_gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=least if least == most else (least, most),  # type: ignore[arg-type]
            use_gpu=on_gpu,
            resources_per_worker={name: amount for name, amount in resources.items() if amount},
            placement_strategy=engine.resources.placement or "PACK",
        ),
        run_config=RunConfig(
            name=job.run.name,
            storage_path=str(job.run.parent),
            failure_config=FailureConfig(max_failures=engine.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=engine.checkpoints_kept),
            callbacks=[_Introduction(job.board)],  # type: ignore[list-item]
        ),
    )


@contextmanager
def _place(storage: str | None, directory: Path | None) -> Iterator[Path]:
    """Have a folder for runs inside the block."""
    if storage is not None:
        yield Path(storage).resolve()
    elif directory is not None:
        yield directory.resolve()
    elif len(living_nodes()) > 1:
        raise ConfigError(
            "engine.storage: found none on a Ray of several nodes; "
            "expected a folder that all of them reach"
        )
    else:
        with tempfile.TemporaryDirectory(prefix="soloist-") as place:
            yield Path(place)


def _finished(
    run: Path, training: str, recipe: Recipe, log: ClickLog, trials: Sequence[Trial]
) -> Path | None:
    """Return the checkpoint of the end, if training came to it."""
    place = checkpoints.newest(run, training)
    if place is None:
        return None
    progress = checkpoints.read_progress(place)
    stream = Stream(log, "train", recipe.stream, [trial.seeds for trial in trials])
    last = len(recipe.arm.phases) - 1
    return place if (progress.phase, progress.batches) == (last, stream.batch_count) else None


def _results(
    log: ClickLog, trials: Sequence[Trial], place: Path, device: torch.device
) -> list[TrialResult]:
    """Evaluate the model of a checkpoint as the local engine evaluates its own."""
    recipe = trials[0].recipe
    assert isinstance(recipe.engine, SyncEngine)
    here = device if device.type == "cuda" and torch.cuda.is_available() else _CPU

    def make_embeddings(tables: list[EmbeddingBagConfig]) -> nn.Module:
        return fused_collection(tables, recipe.optimizer, here)

    seeds = [trial.seeds for trial in trials]
    groups = recipe.arm.phases[-1].groups
    layout = [g for g in recipe.arm.layout(recipe.model.embedding_dim) if g.name in groups]
    arm = Arm(recipe.arm, recipe.model, log.schema, seeds, make_embeddings, groups=layout)
    checkpoints.read_arm(place, arm.to(here))
    progress = checkpoints.read_progress(place)
    examples = len(log.splits["train"]) * recipe.stream.epochs * len(trials)
    found = results(
        log,
        trials,
        arm,
        make_embeddings,
        train_lookups=progress.lookups(examples),
        train_examples_per_second=examples / progress.seconds,
        points=progress.watch.points,
    )
    told = {
        "ranks": list(recipe.engine.worker_range),
        "sharding": recipe.engine.sharding,
        "precision": recipe.engine.precision,
        "compiled": recipe.engine.compile,
        "trained_on": device.type,
        "run": place.parent.name,
    }
    return [replace(each, provenance=each.provenance | told) for each in found]
