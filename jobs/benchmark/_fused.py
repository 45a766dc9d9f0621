"""A study of prediction difference: its replicas fused in one training, or one after another."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from distrib.engines.local import train
from distrib.trials.trial import Trial
from jobs.benchmark._turns import Goal
from jobs.experiment.loading import load_experiment
from recsys.config import Recipe
from recsys.data.click_log import ClickLog
from recsys.data.synthetic import Synthetic, write_synthetic
from recsys.seeds import Source, replica_seeds

REPLICAS, ROWS = 8, 100_000
FUSED, ALONE = "8 replicas fused", "one after another"
GOAL = Goal(of=FUSED, to=ALONE, at_least=2.0)


def write_log(directory: Path, rows: int = ROWS) -> ClickLog:
    """Write synthetic clicks of MovieLens-100K's shape: its features, cardinalities and size."""
    return write_synthetic(
        directory,
        Synthetic(
            rows=rows,
            dense=0,
            cardinalities=(751, 1616, 7, 2, 21, 107, 71, 24),
            bag_cardinalities=(19,),
        ),
    )


def recipe(device: str) -> Recipe:
    """Return how the shipped experiment trains ReLU on MovieLens: batches of 128."""
    return load_experiment("movielens", [f"engine.device={device}"]).arms["relu"].recipe


def replicas(log: ClickLog, count: int, device: str) -> list[Trial]:
    """Return replicas of a study."""
    return [
        Trial(
            recipe=recipe(device),
            seeds=replica_seeds(1, (Source.SHUFFLE,), replica),
            data_fingerprint=log.fingerprint,
        )
        for replica in range(count)
    ]


def study_s(log: ClickLog, trials: Sequence[Trial]) -> float:
    """Return the seconds that replicas take side by side, evaluation included."""
    start = time.perf_counter()
    train(log, trials)
    return time.perf_counter() - start


def turn(log: ClickLog) -> dict[str, float]:
    """Return the studies per second of both ways."""
    trials = replicas(log, REPLICAS, "cpu")
    fused = study_s(log, trials)
    alone = sum(study_s(log, [trial]) for trial in trials)
    return {FUSED: 1 / fused, ALONE: 1 / alone}
