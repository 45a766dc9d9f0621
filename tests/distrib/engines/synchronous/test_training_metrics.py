"""What is told of a training: losses of whole batches, and the time that training took."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torchrec.distributed.train_pipeline import TrainPipelineSparseDist

from distrib.engines.synchronous import metrics as account
from distrib.engines.synchronous import rank_training as training
from distrib.engines.synchronous.rank_training import RankContext, RankTraining
from distrib.engines.synchronous.sharded_arm import ShardedArm
from distrib.training.step import arm_of_phase, dense_optimizer, train_step
from recsys.data.click_log import ClickLog
from recsys.data.stream import Stream
from recsys.embeddings import fused_collection
from tests.support.arms import ARMS
from tests.support.logs import TRUTH, small_log, small_recipe, trials

EVERY = 4


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return small_log(tmp_path_factory.mktemp("account"), replace(TRUTH, rows=400))


def trial_of(log, arm, **engine):
    recipe = small_recipe(
        arm=ARMS[arm],
        evaluation={"points": 1},
        stream={"batch_size": 45},  # 8 batches, and the second rank's part is the shorter
        engine={"name": "sync", "track_every": EVERY, **engine},
    )
    return trials(log, recipe, 1)[0]


class Listener:
    """A tracker that keeps what it is told, and calls somebody."""

    def __init__(self, told: Callable[[], None]) -> None:
        self.scalars: list[Mapping[str, float]] = []
        self._told = told

    def tell(self, examples: int, scalars: Mapping[str, float]) -> None:
        self.scalars.append(scalars)
        self._told()

    def close(self) -> None:
        pass


def watched(ranks, directory, trial, *, around=lambda: None, checkpoint=lambda: None):
    """Train; return what the rank told and, of each checkpoint, what it knew."""
    listener = Listener(around)
    known = []

    def keep(sharded: ShardedArm, progress: account.MetricsState) -> None:
        known.append(progress)
        checkpoint()

    RankTraining(
        trial.recipe,
        ClickLog.open(directory),
        [trial.seeds],
        ranks,
        RankContext(checkpoint=keep, on_progress=lambda _: None, tracker=listener),
    ).run(None)
    return listener.scalars, known


def losses_told(ranks, directory: Path, trial) -> list[float]:
    scalars, _ = watched(ranks, directory, trial)
    name = "loss/joint/objective"
    return [told[name] for told in scalars if name in told]


@pytest.mark.parametrize("arm", ["single", "anti-distilled", "codistilled"])
def test_the_loss_that_is_told_is_that_of_the_whole_batch(pool, log, arm) -> None:
    trial = trial_of(log, arm)

    told, _ = pool.run(losses_told, log.directory, trial)

    cpu = torch.device("cpu")

    def tables(configs):
        return fused_collection(configs, trial.recipe.optimizer, cpu)

    alone = arm_of_phase(trial.recipe, log, [trial], ("model",), tables, None)
    optimizer = dense_optimizer(alone.dense, trial.recipe.optimizer)
    stream = Stream(log, "train", trial.recipe.stream, [trial.seeds])
    losses = [
        train_step(alone, optimizer, batch, phase="joint", progress=number / stream.batch_count)[1]
        for number, batch in enumerate(stream.batches())
    ]
    expected = torch.cat(losses).view(-1, EVERY).mean(1)
    np.testing.assert_allclose(told[: len(expected)], expected, rtol=1e-3)


class Clock:
    """Stands for the module ``time``: only what is made to take time does."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def goes_on(self, seconds: float) -> None:
        self.now += seconds


def seconds_of_training(ranks, directory: Path, trial) -> float:
    clock = Clock()
    batch_s, tell_s, checkpoint_s = 1.0, 10.0, 1000.0

    class Slow(TrainPipelineSparseDist):
        def progress(self, parts):
            clock.goes_on(batch_s)
            return super().progress(parts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "time", clock)
        patch.setattr(account, "time", clock)
        patch.setattr(training, "TrainPipelineSparseDist", Slow)
        _, known = watched(
            ranks,
            directory,
            trial,
            around=lambda: clock.goes_on(tell_s),
            checkpoint=lambda: clock.goes_on(checkpoint_s),
        )
    return known[-1].seconds


def test_time_of_training_is_all_but_evaluation_and_checkpoints(pool, log) -> None:
    trial = trial_of(log, "single", checkpoint_every=3)

    seconds, _ = pool.run(seconds_of_training, log.directory, trial)

    # 8 batches; what is told after the 4th is a part of training, that at the end is not.
    assert seconds == 8 * 1.0 + 10.0
