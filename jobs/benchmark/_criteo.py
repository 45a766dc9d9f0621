"""What the engines' benchmarks train: Criteo's shape on synthetic clicks, and turns of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distrib.trial import Trial
from recsys.config import Recipe
from recsys.data.click_log import ClickLog
from recsys.data.synthetic import Synthetic, write_synthetic
from recsys.seeds import Seeds

BATCH = 1024
TABLES, ROWS, DENSE, WIDTH = 26, 100_000, 13, 16


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
            "model": {"name": "mlp", "embedding_dim": WIDTH, "hidden": [256, 128, 64]},
            "stream": {"batch_size": BATCH, "shuffle": 0, **stream},
            "evaluation": {"points": 1, "progress_examples": 64},
            "engine": {"device": "cpu", "threads": 1, **engine},
        }
    )


def trial_of(log: ClickLog, recipe: Recipe) -> Trial:
    """Return the trial of a recipe, with the seeds that are the default."""
    return Trial(recipe=recipe, seeds=Seeds(), data_fingerprint=log.fingerprint)
