"""Small click logs for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from distrib.trials.trial import Trial
from recsys.config import Recipe
from recsys.data.click_log import ClickLog
from recsys.data.synthetic import Synthetic, write_synthetic
from recsys.seeds import Source, replica_seeds

TRUTH = Synthetic(
    rows=1520, dense=2, cardinalities=(40, 12, 5), bag_cardinalities=(9,), longest_bag=3
)


def small_log(directory: Path, truth: Synthetic = TRUTH) -> ClickLog:
    """Write a click log with dense, single-valued and multi-valued features and open it."""
    return write_synthetic(directory / "log", truth)


def small_recipe(**fields: object) -> Recipe:
    """Return a recipe that trains in well under a second."""
    small = {
        "model": {"embedding_dim": 4, "hidden": [6, 4]},
        "stream": {"batch_size": 32, "shuffle": 50},
        "evaluation": {"points": 3, "progress_examples": 40, "batch_size": 64},
        "engine": {"device": "cpu"},
    }
    for name, value in fields.items():
        merged = small.get(name, {}) | value if isinstance(value, dict) else value
        small[name] = merged  # type: ignore[assignment]
    return Recipe.model_validate(small)


def own_recipe(factory: str, *, model: dict[str, object] | None = None, **fields: object) -> Recipe:
    """Return a small recipe for a model of ``tests.support.custom_model``."""
    named = {"name": f"tests.support.custom_model:{factory}"} | (model or {})
    arm = fields.pop("arm", {"kind": "single"})
    small = dict(small_recipe(**fields))
    return Recipe.model_validate(small | {"model": named, "arm": arm})


def trials(
    log: ClickLog, recipe: Recipe, replicas: int, vary: tuple[Source, ...] = (Source.SHUFFLE,)
) -> list[Trial]:
    """Return replicas of a recipe that differ in the sources named."""
    return [
        Trial(
            recipe=recipe,
            seeds=replica_seeds(7, vary, replica),
            data_fingerprint=log.fingerprint,
        )
        for replica in range(replicas)
    ]


def bag_of(log: ClickLog, feature: str, row: int) -> np.ndarray:
    """Return the table rows of one multi-valued feature of one example."""
    bag = log.bags[feature]
    return bag.values[bag.offsets[row] : bag.offsets[row + 1]]
