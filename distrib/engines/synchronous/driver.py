"""The driver of the ``sync`` engine: checks the configuration, runs Ray Train, returns results."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
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
from ray.train.v2.api.exceptions import TrainingFailedError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from torch import nn
from torchrec.modules.embedding_configs import EmbeddingBagConfig

from distrib.engines.synchronous import checkpoints
from distrib.engines.synchronous.rank_training import Job, work
from distrib.engines.synchronous.ray_train import ControllerHook
from distrib.engines.synchronous.run import Run, is_uri, run_name, training_digest
from distrib.engines.synchronous.sharding_plan import (
    refuse_lost_scalars,
    refuse_sharding,
    refuse_unavailable,
    sharding_kinds,
    sharding_plan,
)
from distrib.engines.synchronous.status_actor import RunStatus, StatusActor
from distrib.errors import TrialFailed
from distrib.scheduling.resources import Resources, living_nodes, may_grow, worker_resources
from distrib.scheduling.session import ray_session
from distrib.training.evaluator import results
from distrib.training.step import Progress as Told
from distrib.training.step import refuse_unfit, set_threads, shape_of_phase
from distrib.trials.folder import Folder
from distrib.trials.results import RUNS
from distrib.trials.trial import Trial, TrialResult
from recsys.config import Recipe
from recsys.credentials import without_credentials
from recsys.data.click_log import ClickLog
from recsys.data.stream import Stream
from recsys.embeddings import fused_collection
from recsys.engines import SyncEngine
from recsys.errors import ConfigError
from recsys.module import Arm

_POLL_S = 0.5
_ABORT_S = 15.0
_RAY_TRAIN = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # as long a report takes, at most
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "15",  # after which fewer ranks will do
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # a user's own model is found from where the driver is
}


class Fit:
    """One call of Ray Train, in a thread; the main thread reports progress and can stop it."""

    def __init__(self, job: Job, resources: Resources, on_progress: Told) -> None:
        self._job = job
        self._resources = resources
        self._on_progress = on_progress
        self._told = 0
        self._controller: Any = None
        self._failure: Exception | None = None
        self._error: BaseException | None = None

    def run(self) -> None:
        """Return when the training is done.

        Raises:
            TrialFailed: training failed.
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
        news: RunStatus = ray.get(self._job.status_actor.news.remote())
        self._controller, self._failure = news.controller, news.failure
        new, self._told = news.examples - self._told, news.examples
        if new:
            self._on_progress(new)

    def _end(self, thread: threading.Thread) -> None:
        """Stop all ranks, for any reason of the end."""
        if thread.is_alive():
            self._controller = (
                self._controller or ray.get(self._job.status_actor.news.remote()).controller
            )
        if thread.is_alive() and self._controller is not None:
            with suppress(RayError):  # it ends with the call
                ray.get(self._controller.abort.remote(), timeout=_ABORT_S)
            thread.join(_ABORT_S)

    def _fit(self) -> None:
        try:
            _trainer(self._job, self._resources).fit()
        except TrainingFailedError as error:
            reason = str(error).strip().splitlines()[-1]
            self._error = TrialFailed(f"{self._job.run()}: ranks failed too often: {reason}")
            self._error.__cause__ = error
        except BaseException as error:  # the main thread raises it
            self._error = error


def _trainer(job: Job, resources: Resources) -> TorchTrainer:
    engine = job.trials[0].recipe.engine
    assert isinstance(engine, SyncEngine)
    least, most = engine.worker_range
    on_gpu = resources["GPU"] > 0
    folder = Folder(job.place, RUNS)
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
            name=job.name,
            storage_path=folder.path,
            storage_filesystem=folder.system,
            failure_config=FailureConfig(max_failures=engine.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=engine.checkpoints_kept),
            callbacks=[ControllerHook(job.status_actor, job.name)],  # type: ignore[list-item]
        ),
    )


_CPU = torch.device("cpu")


def train(
    log: ClickLog,
    trials: Sequence[Trial],
    *,
    on_progress: Told = lambda _: None,
    directory: Path | str | None = None,
) -> list[TrialResult]:
    """Train replicas side by side, on ranks that share every batch.

    Checkpoints and scalars go to ``runs/NAME`` in ``engine.storage`` or ``directory``; training
    resumes from a complete checkpoint there.

    Args:
        log: the click log; ranks open it by its path.
        trials: replicas of one recipe.
        on_progress: called with examples trained, including those trained again.
        directory: a path that all nodes reach, or a URI; None: a temporary directory.

    Raises:
        ConfigError: the trials differ in more than their seeds, or the configuration cannot work.
        DataError: a checkpoint is of another training.
        TrialFailed: a replica diverged, or more ranks were lost than ``max_failures``.
    """
    refuse_unfit(log, trials)
    recipe = trials[0].recipe
    assert isinstance(recipe.engine, SyncEngine)
    set_threads(recipe)
    with ray_session(), _scratch() as scratch:
        resources = worker_resources(recipe, living_nodes())
        _refuse_too_many(recipe.engine, resources, living_nodes())
        device = torch.device("cuda" if resources["GPU"] else "cpu")
        refuse(recipe, log, trials, device)
        place = _place(recipe.engine.storage, directory, scratch)
        refuse_lost_scalars(recipe.engine, stored_at_uri=is_uri(place))
        run = Run(place, run_name(trials), _absolute(recipe.engine.resume), scratch)
        found = run.newest_or_resumed(training_digest(trials))
        if found is None or not _is_end(found, log, trials):
            _fit(place, log, trials, resources, on_progress)
            run.drop_all_but(recipe.engine.checkpoints_kept)
            found = run.newest(training_digest(trials))
        if found is None or not _is_end(found, log, trials):
            raise TrialFailed(f"{run}: Ray Train ended without a complete final checkpoint")
        return evaluated(log, trials, found, device)


def _fit(
    place: str, log: ClickLog, trials: Sequence[Trial], resources: Resources, on_progress: Told
) -> None:
    """Run the ranks to the end of the training."""
    engine = trials[0].recipe.engine
    assert isinstance(engine, SyncEngine)
    # On this node, whose loss ends the training anyway: Ray would put it on any, spot or not.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    remote: Any = ray.remote(StatusActor)
    status_actor = remote.options(num_cpus=0, scheduling_strategy=here).remote()
    job = Job(
        log_directory=log.directory.resolve(),
        trials=tuple(trials),
        training=training_digest(trials),
        place=place,
        name=run_name(trials),
        resume=_absolute(engine.resume),
        environment=_of_trackers(os.environ) if engine.tracking == "mlflow" else {},
        status_actor=status_actor,
    )
    try:
        Fit(job, resources, on_progress).run()
    finally:
        ray.kill(status_actor)


def _of_trackers(environment: Mapping[str, str]) -> dict[str, str]:
    """Return MLflow's environment variables, which Ray does not pass to other nodes."""
    return {name: value for name, value in environment.items() if name.startswith("MLFLOW_")}


def refuse(recipe: Recipe, log: ClickLog, trials: Sequence[Trial], device: torch.device) -> None:
    """Raise, before any rank starts, if the configuration cannot work with any number of ranks.

    Raises:
        ConfigError: names what was found and expected.
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
    """Raise if a single node will never have room for the ranks, which would wait forever.

    Raises:
        ConfigError: names the available resources.
    """
    if may_grow(nodes):
        return
    least, _ = engine.worker_range
    for name, amount in each.items():
        there = nodes[0].get(name, 0)
        if least * amount > there:
            raise ConfigError(
                f"engine.workers: found {least} ranks of {amount:g} {name} each, "
                f"expected at most {there:g} {name} in total, which is all that Ray has"
            )


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="soloist-") as place:
        yield Path(place)


def _place(storage: str | None, directory: Path | str | None, scratch: Path) -> str:
    """Return the path or URI of runs.

    Raises:
        ConfigError: no path that all nodes reach, or it is not usable.
    """
    place = _absolute(storage) or _absolute(directory)
    if place is None:
        if len(living_nodes()) > 1:
            raise ConfigError(
                "engine.storage: found none on a Ray of several nodes; "
                "expected a folder that all of them reach, or a URI such as s3://bucket/runs"
            )
        return str(scratch)
    try:
        Folder(place).folders()
    except (OSError, ValueError) as error:
        shown, first = without_credentials(place), str(error).splitlines()[0]
        raise ConfigError(
            f"engine.storage: {shown}: {first}; expected a place for checkpoints"
        ) from None
    return place


def _absolute(place: str | Path | None) -> str | None:
    """Return an absolute path; URIs are unchanged."""
    if place is None:
        return None
    return str(place) if is_uri(str(place)) else str(Path(place).resolve())


def _is_end(place: Path, log: ClickLog, trials: Sequence[Trial]) -> bool:
    """Return whether a checkpoint is of the end of the training."""
    progress, recipe = checkpoints.read_progress(place), trials[0].recipe
    stream = Stream(log, "train", recipe.stream, [trial.seeds for trial in trials])
    last = len(recipe.arm.phases) - 1
    return (progress.phase, progress.batches) == (last, stream.batch_count)


def evaluated(
    log: ClickLog, trials: Sequence[Trial], place: Path, device: torch.device
) -> list[TrialResult]:
    """Evaluate the model of a checkpoint as the local engine evaluates its models.

    It may be of any batch of the last phase; costs are those of the training so far. ``device`` is
    the training device; if it is missing here, the CPU is used.

    Raises:
        DataError: it is not a checkpoint of these trials' last phase.
    """
    recipe = trials[0].recipe
    assert isinstance(recipe.engine, SyncEngine)
    here = device if device.type == "cuda" and torch.cuda.is_available() else _CPU
    # Nothing is trained here: SGD keeps no state, and works on every device.
    answers_only = recipe.optimizer.model_copy(update={"sparse": "sgd"})

    def make_embeddings(tables: list[EmbeddingBagConfig]) -> nn.Module:
        return fused_collection(tables, answers_only, here)

    seeds = [trial.seeds for trial in trials]
    groups = recipe.arm.phases[-1].groups
    layout = [g for g in recipe.arm.layout(recipe.model.embedding_dim) if g.name in groups]
    arm = Arm(recipe.arm, recipe.model, log.schema, seeds, make_embeddings, groups=layout)
    checkpoints.read_arm(place, arm.to(here))
    progress = checkpoints.read_progress(place)
    before = progress.phase * len(log.splits["train"]) * recipe.stream.epochs
    examples = (progress.examples - before) * len(trials)
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
        "ranks_at_the_end": checkpoints.ranks_of(place),
        "sharding": recipe.engine.sharding,
        "precision": recipe.engine.precision,
        "compiled": recipe.engine.compile,
        "trained_on": device.type,
        "run": place.parent.name,
    }
    return [replace(each, provenance=each.provenance | {"sync": told}) for each in found]
