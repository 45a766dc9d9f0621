"""Ranks for tests: processes started once, in one process group, that run what they are sent."""

from __future__ import annotations

import logging
import os
import tempfile
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from distrib.engines.synchronous import checkpoints
from distrib.engines.synchronous.metrics import MetricsState, NullTracker
from distrib.engines.synchronous.rank_training import RankContext, RankTraining
from distrib.engines.synchronous.run import training_digest
from distrib.engines.synchronous.sharded_arm import ShardedArm, whole
from distrib.engines.synchronous.step import RankGroup
from distrib.trials.trial import Trial
from recsys.data.click_log import ClickLog


class Pool:
    """``count`` ranks that wait for work."""

    def __init__(self, count: int) -> None:
        # In a file: a port that was found free may be another's by the time the ranks meet there.
        self._place = tempfile.TemporaryDirectory()
        meeting = Path(self._place.name, "meeting").as_uri()
        context = mp.get_context("spawn")
        self._ends, self._processes = [], []
        for rank in range(count):
            mine, theirs = context.Pipe()
            process = context.Process(
                target=_serve, args=(rank, count, meeting, theirs), daemon=True
            )
            process.start()
            self._ends.append(mine)
            self._processes.append(process)

    def run(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """Return what ``function(ranks, *arguments)`` returns on each rank."""
        for end in self._ends:
            end.send((function, arguments))
        answers: dict[Connection, Any] = {}
        while len(answers) < len(self._ends):
            for end in wait([each for each in self._ends if each not in answers]):
                failed, answers[end] = end.recv()
                if failed:
                    self.close()  # the other ranks may wait for this one for ever
                    raise AssertionError(answers[end])
        return [answers[end] for end in self._ends]

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.kill()
            process.join()
        self._place.cleanup()


def _serve(rank: int, count: int, meeting: str, end: Connection) -> None:
    os.environ["LOCAL_WORLD_SIZE"] = str(count)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=count)
    ranks = RankGroup(rank=rank, count=count, per_node=count, device=torch.device("cpu"))
    while True:
        function, arguments = end.recv()
        try:
            end.send((False, function(ranks, *arguments)))
        except Exception:
            end.send((True, traceback.format_exc()))


@dataclass(frozen=True, kw_only=True)
class Model:
    """A trained model, as arrays by name, and what was seen on the way."""

    tables: dict[str, np.ndarray]
    towers: dict[str, np.ndarray]
    progress: MetricsState


class Interrupted(Exception):
    """What a test stops ranks with."""


def train_on(
    ranks: RankGroup,
    log: Path,
    trials: Sequence[Trial],
    run: Path | None = None,
    start: Path | None = None,
    stop_after: int | None = None,
) -> Model | None:
    """Train as one of the ranks and return the model, or None if stopped after some checkpoints.

    With a ``run``, checkpoints go to ``run/checkpoint_N``, N counting the batches of all phases.
    """
    recipe = trials[0].recipe
    last: list[ShardedArm] = []
    made: list[MetricsState] = []

    def checkpoint(sharded: ShardedArm, progress: MetricsState) -> None:
        last[:] = [sharded]
        made.append(progress)
        if run is not None:
            place = run / f"checkpoint_{progress.phase}-{progress.batches:06d}"
            place.mkdir(parents=True, exist_ok=True)
            checkpoints.write(place, sharded, progress, training_digest(trials))
            dist.barrier()
        if len(made) == stop_after:
            raise Interrupted

    training = RankTraining(
        recipe,
        ClickLog.open(log),
        [trial.seeds for trial in trials],
        ranks,
        RankContext(checkpoint=checkpoint, on_progress=lambda _: None, tracker=NullTracker()),
    )
    try:
        training.run(start)
    except Interrupted:
        return None
    return Model(
        tables={name: whole(table.weight).numpy() for name, table in last[0].tables.items()},
        towers={name: each.numpy() for name, each in last[0].arm.dense.state_dict().items()},
        progress=made[-1],
    )
