"""A study of prediction difference: its replicas fused in one training, or one after another."""

from __future__ import annotations

import time
from pathlib import Path

from distrib.local import train
from distrib.trial import Trial
from jobs.benchmark._turns import Goal
from jobs.loading import load_experiment
from recsys.config import Recipe
from recsys.data.click_log import ClickLog
from recsys.data.synthetic import Synthetic, write_synthetic
from recsys.seeds import Source, replica_seeds

REPLICAS = 8
FUSED, ALONE = "8 replicas fused", "one after another"
GOAL = Goal(of=FUSED, to=ALONE, at_least=2.0)


def write_log(directory: Path) -> ClickLog:
    """Write synthetic clicks of MovieLens-100K's shape: its features, cardinalities and size."""
    return write_synthetic(
        directory,
        Synthetic(
            rows=100_000,
            dense=0,
            cardinalities=(751, 1616, 7, 2, 21, 107, 71, 24),
            bag_cardinalities=(19,),
        ),
    )


def recipe() -> Recipe:
    """Return how the shipped experiment trains ReLU on MovieLens: batches of 128."""
    return load_experiment("movielens", ["engine.device=cpu"]).arms["relu"].recipe


def turn(log: ClickLog) -> dict[str, float]:
    """Return the studies per second of both ways, evaluation included."""
    trials = [
        Trial(
            recipe=recipe(),
            seeds=replica_seeds(1, (Source.SHUFFLE,), replica),
            data_fingerprint=log.fingerprint,
        )
        for replica in range(REPLICAS)
    ]
    start = time.perf_counter()
    train(log, trials)
    middle = time.perf_counter()
    for trial in trials:
        train(log, [trial])
    end = time.perf_counter()
    return {FUSED: 1 / (middle - start), ALONE: 1 / (end - middle)}
