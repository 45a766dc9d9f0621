"""What Ray Train runs on every rank."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch.distributed as dist
from ray.train import Checkpoint

from distrib.errors import TrialFailed
from distrib.sync import checkpoints
from distrib.sync.account import Progress
from distrib.sync.board import Teller
from distrib.sync.ranks import Ranks
from distrib.sync.refusals import refuse_unavailable
from distrib.sync.run import Run
from distrib.sync.sharded import ShardedArm
from distrib.sync.tracking import MLFLOW_RUN, Nobody, files_of, tracker
from distrib.sync.training import RankTraining, Surroundings
from distrib.training import set_threads
from distrib.trial import Trial
from recsys.data.click_log import ClickLog
from recsys.directories import make_private
from recsys.errors import ConfigError, DataError

_UNTIL_ENDED_S = 60.0
HOPELESS = (ConfigError, DataError, TrialFailed)
"""What would end the next try too"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What ranks are to do."""

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
    board: Any

    def run(self) -> Run:
        """Return the run as this machine sees it."""
        # The same for all ranks of a node; what a killed one left there, the next one replaces.
        # Elsewhere the same trials are another run.
        elsewhere = hashlib.sha256(self.place.encode()).hexdigest()[:8]
        return Run(self.place, self.name, self.resume, _scratch() / elsewhere)


def _scratch() -> Path:
    """Return where this node's ranks keep what lies elsewhere."""
    return Path(tempfile.gettempdir(), f"soloist-{os.getuid()}-ranks")


def work(job: Job) -> None:
    """Train as the rank that this process is."""
    try:
        _work(job)
    except HOPELESS as error:
        ray.get(job.board.failed.remote(error))
        time.sleep(_UNTIL_ENDED_S)  # by the driver: raised at once, Ray Train would start all again
        raise


def _work(job: Job) -> None:
    recipe = job.trials[0].recipe
    ranks = _ranks()
    set_threads(recipe)
    refuse_unavailable(recipe, ranks.device)
    log = ClickLog.open(job.log_directory)
    if log.fingerprint != job.trials[0].data_fingerprint:
        raise DataError(f"{job.log_directory}: not the click log that the trial was planned with")
    os.environ.update(job.environment)
    run = job.run()
    make_private(_scratch())
    run.here.mkdir(mode=0o700, parents=True, exist_ok=True)
    run.bring_file(MLFLOW_RUN)
    start = _agreed(job, run, ranks)
    seen = 0 if start is None else checkpoints.read_progress(start).examples
    teller = Teller(job.board, start=seen * len(job.trials))
    told = tracker(recipe, run.here, start=seen) if ranks.is_first else Nobody()
    training = RankTraining(
        recipe,
        log,
        [trial.seeds for trial in job.trials],
        ranks,
        Surroundings(
            checkpoint=partial(_checkpoint, job.training, run, teller),
            on_progress=teller,
            tracker=told,
        ),
    )
    training.run(start)
    told.close()
    if ranks.is_first:
        run.send(*files_of(run.here))
    dist.barrier()  # the ranks of a node share what is cleared
    run.clear()


def _ranks() -> Ranks:
    context = ray.train.get_context()
    # TorchRec asks the environment how many ranks a node has.
    os.environ["LOCAL_WORLD_SIZE"] = str(context.get_local_world_size())
    return Ranks(
        rank=context.get_world_rank(),
        count=context.get_world_size(),
        per_node=context.get_local_world_size(),
        device=ray.train.torch.get_device(),
    )


def _agreed(job: Job, run: Run, ranks: Ranks) -> Path | None:
    """Return the checkpoint that all ranks begin with; the first looks which are whole."""
    chosen: list[Path | None] = [None]
    if ranks.is_first:
        chosen = [run.to_begin_with(job.training)]
    dist.broadcast_object_list(chosen, src=0)
    if chosen[0] is not None and _is_first_of_node() and not ranks.is_first:
        run.bring(chosen[0])
    dist.barrier()
    return chosen[0]


def _is_first_of_node() -> bool:
    return ray.train.get_context().get_local_rank() == 0


def _checkpoint(
    training: str, run: Run, teller: Teller, sharded: ShardedArm, progress: Progress
) -> None:
    if sharded.ranks.is_first:
        teller.flush()  # writing takes a while
        run.send(*files_of(run.here))
    with tempfile.TemporaryDirectory() as place:
        checkpoints.write(Path(place), sharded, progress, training)
        ray.train.report({}, checkpoint=Checkpoint.from_directory(place))
