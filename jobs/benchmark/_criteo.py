"""What the benchmarks of engines train: Criteo's shape on synthetic clicks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from distrib.engines.registry import train
from distrib.trials.trial import Trial
from jobs.benchmark._turns import Clock
from recsys.config import Recipe
from recsys.data.click_log import ClickLog
from recsys.data.synthetic import Synthetic, write_synthetic
from recsys.seeds import Seeds

BATCH = 1024
TABLES, ROWS, DENSE, WIDTH = 26, 100_000, 13, 16
BOTTOM, HIDDEN = (64,), (256, 128, 64)


def write_log(directory: Path, batches: int) -> ClickLog:
    """Write a click log whose training split has so many batches; ids follow Zipf's law."""
    return write_synthetic(
        directory,
        Synthetic(
            rows=batches * BATCH * 10 // 8,
            dense=DENSE,
            cardinalities=(ROWS - 1,) * TABLES,
            bag_cardinalities=(),
        ),
    )


def recipe_of(engine: dict[str, Any], **stream: Any) -> Recipe:
    """Return the recipe of 26 tables of 100,000 x 16 and towers 256-128-64 on an engine."""
    return Recipe.model_validate(
        {
            "model": {"name": "mlp", "embedding_dim": WIDTH, "hidden": HIDDEN},
            "stream": {"batch_size": BATCH, "shuffle": 0, **stream},
            "evaluation": {"points": 1, "progress_examples": 64},
            "engine": {"device": "cpu", "threads": 1, **engine},
        }
    )


def recipe_of_model(
    model: str, engine: dict[str, Any], *, optimizer: dict[str, str] | None = None, **stream: Any
) -> Recipe:
    """Return the recipe of a model in the sizes in which the peers train it."""
    recipe = recipe_of({"name": "local", **engine}, **stream).model_dump()
    recipe["model"] = {
        "name": model,
        "embedding_dim": WIDTH,
        "hidden": HIDDEN,
        "layer_norm": model == "mlp",  # none of the peers has it
        **({"bottom": BOTTOM} if model == "dlrm" else {}),
    }
    recipe["optimizer"] |= optimizer or {}
    return Recipe.model_validate(recipe)


def trial_of(log: ClickLog, recipe: Recipe) -> Trial:
    """Return the trial of a recipe, with the seeds that are the default."""
    return Trial(recipe=recipe, seeds=Seeds(), data_fingerprint=log.fingerprint)


def clock_of(log: ClickLog, recipe: Recipe) -> Clock:
    """Return a clock for one pass of a recipe."""
    batches = -(-len(log.splits["train"]) // recipe.stream.batch_size)
    return Clock(torch.device(recipe.engine.device), batches)


def rate(log: ClickLog, recipe: Recipe) -> float:
    """Train one pass and return the examples per second of its second half."""
    clock = clock_of(log, recipe)
    train(log, [trial_of(log, recipe)], on_progress=clock)
    return clock.rate()


def rate_of_ranks(log: ClickLog, recipe: Recipe) -> float:
    """Train one pass and return the examples per second that those who trained tell.

    All but evaluation and checkpoints counts. The driver of ranks learns of their progress twice a
    second, and of the end when the last checkpoint is written: no clock for a rate.
    """
    (result,) = train(log, [trial_of(log, recipe)])
    return result.cost.train_examples_per_second
