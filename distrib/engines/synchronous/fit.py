"""One call of Ray Train: it places ranks and restarts them; here its end is seen to."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayError
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2.api.exceptions import TrainingFailedError

from distrib.engines.synchronous.controller_hook import ControllerHook
from distrib.engines.synchronous.rank_training import Job, work
from distrib.engines.synchronous.status_actor import RunStatus
from distrib.errors import TrialFailed
from distrib.scheduling.resources import Resources
from distrib.training.step import Progress as Told
from distrib.trials.folder import Folder
from distrib.trials.results import RUNS
from recsys.engines import SyncEngine

_POLL_S = 0.5
_ABORT_S = 15.0
_RAY_TRAIN = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # as long a report takes, at most
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "15",  # after which fewer ranks will do
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # a user's own model is found from where the driver is
}


class Fit:
    """One call of Ray Train, in a thread: here the main thread tells progress, and can stop it."""

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
        news: RunStatus = ray.get(self._job.board.news.remote())
        self._controller, self._failure = news.controller, news.failure
        new, self._told = news.examples - self._told, news.examples
        if new:
            self._on_progress(new)

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
            callbacks=[ControllerHook(job.board, job.name)],  # type: ignore[list-item]
        ),
    )
