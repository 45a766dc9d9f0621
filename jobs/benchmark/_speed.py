"""How fast each engine trains beside the local one, and where a worker's time goes.

Engines take turns, so that what else the machine does meets all alike; what is printed are medians
of the ratios within a turn. A rate is taken over the second half of a run, when all workers are
there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.table import Table

from distrib.engines.registry import train
from distrib.trials.trial import TrialResult
from jobs.benchmark._criteo import recipe_of, trial_of
from jobs.benchmark._turns import Clock, Goal, ratios, spread
from recsys.config import Recipe
from recsys.data.click_log import ClickLog

LOCAL = "local"


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One run of one engine."""

    examples_per_second: float
    workers: dict[str, Any]
    """Where a worker's time goes; empty for the local engine"""


def contestants(window: int, shards: int, workers: int) -> dict[str, Recipe]:
    """Return what is compared: the local engine, and each store with one and with more workers."""
    stores: dict[str, dict[str, Any]] = {
        "shared_memory": {"store": "shared_memory"},
        "server": {"store": "server", "shards": shards},
    }
    found = {LOCAL: recipe_of({"name": "local"})}
    for name, store in stores.items():
        for count in sorted({1, workers}):
            engine = {"name": "async", "window": window, "workers": count, **store}
            found[f"{name}, {count}"] = recipe_of(engine)
    return found


def goals(workers: int) -> list[Goal]:
    """Return what the stores are to reach, more workers as two do: each has a core."""
    return [
        Goal(of="shared_memory, 1", to=LOCAL, at_least=0.95),
        Goal(of=f"shared_memory, {workers}", to="shared_memory, 1", at_least=0.9 * workers),
        Goal(of="server, 1", to=LOCAL, at_least=0.85),
        Goal(of=f"server, {workers}", to="server, 1", at_least=0.8 * workers),
    ]


def measure(log: ClickLog, recipes: Mapping[str, Recipe], turns: int) -> list[dict[str, Turn]]:
    """Return what each contestant did in each turn."""
    return [{name: _turn(log, recipe) for name, recipe in recipes.items()} for _ in range(turns)]


def _turn(log: ClickLog, recipe: Recipe) -> Turn:
    clock = Clock()
    (result,) = train(log, [trial_of(log, recipe)], on_progress=clock)
    return Turn(examples_per_second=clock.rate(), workers=_workers(result))


def _workers(result: TrialResult) -> dict[str, Any]:
    told: dict[str, Any] = result.provenance.get("workers", {})
    return told


def speeds(found: list[dict[str, Turn]]) -> Table:
    """Return the rates, and their ratios to the local engine's."""
    table = Table("engine, workers", "examples/s", "of local")
    turns = rates(found)
    for name in found[0]:
        median = np.median([turn[name] for turn in turns])
        table.add_row(name, f"{median:,.0f}", spread(ratios(turns, name, LOCAL)))
    return table


def rates(found: list[dict[str, Turn]]) -> list[dict[str, float]]:
    """Return the examples per second alone."""
    return [{name: turn.examples_per_second for name, turn in each.items()} for each in found]


def times(turn: dict[str, Turn]) -> Table:
    """Return where a worker's time goes, of the contestants that have workers.

    What the shards take is theirs, beside the worker's: CPU time, all shards together.
    """
    steps = ("prepare", "pull", "compute", "push", "wait", "shard")
    table = Table("ms a window", *steps, "MB pulled", "MB pushed")
    for name, each in turn.items():
        if each.workers:
            seconds = each.workers["seconds_per_window"]
            table.add_row(
                name,
                *(f"{1000 * seconds[step]:.1f}" for step in steps),
                f"{each.workers['bytes_pulled_per_window'] / 1e6:.1f}",
                f"{each.workers['bytes_pushed_per_window'] / 1e6:.1f}",
            )
    return table
