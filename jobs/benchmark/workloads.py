"""What the benchmarks train: models on Criteo's shape, a fused study, steps by activation."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from distrib.engines.registry import train
from distrib.training.step import dense_optimizer, set_arithmetic, train_step
from distrib.trials.trial import Trial, TrialResult
from jobs.benchmark.harness import Goal, Throughput
from jobs.experiment.loading import load_experiment
from recsys.config import Recipe
from recsys.cost import wait_for
from recsys.data.click_log import ClickLog
from recsys.data.stream import Stream
from recsys.data.synthetic import Synthetic, write_synthetic
from recsys.embeddings import fused_collection
from recsys.module import Arm
from recsys.seeds import Seeds, Source, replica_seeds

BATCH = 1024
TABLES, ROWS, DENSE, WIDTH = 26, 100_000, 13, 16
BOTTOM, HIDDEN = (64,), (256, 128, 64)
ACTIVATIONS = ("relu", "smelu(beta=1)", "softplus", "mish", "gelu")
ACTIVATION_GOALS = (
    Goal("smelu(beta=1)", "relu", at_least=1 / 1.03),
    *(Goal("smelu(beta=1)", other, at_least=1.0) for other in ACTIVATIONS[2:]),
)
"""In rates: a step with SmeLU takes at most 1.03 times as long as with ReLU, and no longer than
with the others"""
MOVIELENS_ROWS = 100_000
_TURN_BATCHES = 16


def write_criteo_log(directory: Path, batches: int) -> ClickLog:
    """Write clicks of Criteo's shape, ``batches`` of them for training; ids follow Zipf's law."""
    rows = batches * BATCH * 10 // 8
    cardinalities = (ROWS - 1,) * TABLES
    return write_synthetic(
        directory,
        Synthetic(rows=rows, dense=DENSE, cardinalities=cardinalities, bag_cardinalities=()),
    )


def recipe_of(
    engine: dict[str, Any] | None = None,
    *,
    model: str = "mlp",
    optimizer: dict[str, str] | None = None,
    **stream: Any,
) -> Recipe:
    """Return the recipe of a model with 26 tables of 100,000 x 16 and towers 256-128-64."""
    sizes = {"name": model, "embedding_dim": WIDTH, "hidden": HIDDEN}
    # Only the MLP has layer normalization, since none of the peers has it.
    sizes |= {"layer_norm": model == "mlp"} | ({"bottom": BOTTOM} if model == "dlrm" else {})
    return Recipe.model_validate(
        {
            "model": sizes,
            "optimizer": optimizer or {},
            "stream": {"batch_size": BATCH, "shuffle": 0, **stream},
            "evaluation": {"points": 1, "progress_examples": 64},
            "engine": {"name": "local", "device": "cpu", "threads": 1, **(engine or {})},
        }
    )


def trial_of(log: ClickLog, recipe: Recipe) -> Trial:
    """Return the trial of a recipe with the default seeds."""
    return Trial(recipe=recipe, seeds=Seeds(), data_fingerprint=log.fingerprint)


def throughput_of(log: ClickLog, recipe: Recipe) -> Throughput:
    """Return a meter for one pass of a recipe."""
    batches = -(-len(log.splits["train"]) // recipe.stream.batch_size)
    return Throughput(torch.device(recipe.engine.device), batches)


def train_once(log: ClickLog, recipe: Recipe) -> tuple[float, TrialResult]:
    """Train one pass; return the examples per second of its second half, and the result."""
    throughput = throughput_of(log, recipe)
    (result,) = train(log, [trial_of(log, recipe)], on_progress=throughput)
    return throughput.rate(), result


def rate(log: ClickLog, recipe: Recipe) -> float:
    """Train one pass; return the examples per second of its second half."""
    return train_once(log, recipe)[0]


def reported_rate(log: ClickLog, recipe: Recipe) -> float:
    """Train one pass; return the examples per second that its cost reports.

    Evaluation and checkpoints do not count. The driver of synchronous ranks gets their progress
    twice a second, and the end after the last checkpoint: too coarse for `Throughput`.
    """
    (result,) = train(log, [trial_of(log, recipe)])
    return result.cost.train_examples_per_second


def training_arm(
    log: ClickLog, recipe: Recipe, device: torch.device, **fields: str
) -> tuple[Arm, torch.optim.Optimizer]:
    """Return the recipe's arm, ``fields`` replaced, and the optimizer of its dense part."""
    arm = Arm(
        recipe.arm.model_copy(update=fields),
        recipe.model,
        log.schema,
        [Seeds()],
        lambda tables: fused_collection(tables, recipe.optimizer, device),
    ).to(device)
    return arm, dense_optimizer(arm.dense, recipe.optimizer)


def measure_activations(log: ClickLog, recipe: Recipe) -> list[dict[str, float]]:
    """Train an arm with each activation on every batch, in an order that rotates.

    Returns the rates of every 16 batches but the first 16, which warm caches.
    """
    device = set_arithmetic(recipe)
    arms = {name: training_arm(log, recipe, device, activation=name) for name in ACTIVATIONS}
    turns = []
    seconds, examples = dict.fromkeys(ACTIVATIONS, 0.0), 0
    stream = Stream(log, "train", recipe.stream, [Seeds()])
    for number, on_host in enumerate(stream.batches(), start=1):
        batch = on_host.to(device)
        wait_for(device)
        first = (number - 1) % len(ACTIVATIONS)
        for name in (*ACTIVATIONS[first:], *ACTIVATIONS[:first]):
            start = time.perf_counter()
            train_step(*arms[name], batch, phase="joint", progress=0.0)
            wait_for(device)
            seconds[name] += time.perf_counter() - start
        examples += batch.examples
        if number % _TURN_BATCHES == 0:
            turns.append({name: examples / spent for name, spent in seconds.items()})
            seconds, examples = dict.fromkeys(ACTIVATIONS, 0.0), 0
    return turns[1:]


def write_movielens_log(directory: Path) -> ClickLog:
    """Write synthetic clicks of MovieLens-100K's shape: its features, cardinalities and size."""
    cardinalities = (751, 1616, 7, 2, 21, 107, 71, 24)
    return write_synthetic(
        directory,
        Synthetic(
            rows=MOVIELENS_ROWS, dense=0, cardinalities=cardinalities, bag_cardinalities=(19,)
        ),
    )


def movielens_replicas(log: ClickLog, count: int, device: str) -> list[Trial]:
    """Return replicas of the shipped experiment's ReLU arm: batches of 128."""
    recipe = load_experiment("movielens", [f"engine.device={device}"]).arms["relu"].recipe
    return [
        Trial(
            recipe=recipe,
            seeds=replica_seeds(1, (Source.SHUFFLE,), replica),
            data_fingerprint=log.fingerprint,
        )
        for replica in range(count)
    ]


def study_seconds(log: ClickLog, trials: Sequence[Trial]) -> float:
    """Return the seconds to train replicas fused in one model, and to evaluate them."""
    start = time.perf_counter()
    train(log, trials)
    return time.perf_counter() - start
