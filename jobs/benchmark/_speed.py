"""How fast each engine trains beside the local one, and where a worker's time goes.

Engines take turns, so that what else the machine does meets all alike; what is printed are medians
of the ratios within a turn. A rate is taken over the second half of a run, when all workers are
there.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.table import Table

from distrib.engines import train
from distrib.trial import TrialResult
from jobs.benchmark._criteo import recipe_of, trial_of
from recsys.config import Recipe
from recsys.data.click_log import ClickLog

LOCAL = "local"


@dataclass(frozen=True, kw_only=True, slots=True)
class Goal:
    """A ratio of two contestants' rates that is wanted."""

    of: str
    to: str
    at_least: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One run of one engine."""

    examples_per_second: float
    workers: dict[str, Any]
    """Where a worker's time goes; empty for the local engine"""


def contestants(window: int, shards: int, workers: int) -> dict[str, Recipe]:
    """Return what is compared: the local engine, and each store with one and with more workers."""
    server = {"name": "async", "window": window, "shards": shards}
    found = {LOCAL: recipe_of({"name": "local"})}
    for count in sorted({1, workers}):
        found[f"server, {count}"] = recipe_of(server | {"workers": count})
    return found


def goals(workers: int) -> list[Goal]:
    """Return what the stores are to reach."""
    return [
        Goal(of="server, 1", to=LOCAL, at_least=0.85),
        Goal(of=f"server, {workers}", to="server, 1", at_least=1.6),
    ]


def measure(log: ClickLog, recipes: Mapping[str, Recipe], turns: int) -> list[dict[str, Turn]]:
    """Return what each contestant did in each turn."""
    return [{name: _turn(log, recipe) for name, recipe in recipes.items()} for _ in range(turns)]


def _turn(log: ClickLog, recipe: Recipe) -> Turn:
    seen: list[tuple[float, int]] = []
    (result,) = train(
        log,
        [trial_of(log, recipe)],
        on_progress=lambda examples: seen.append((time.perf_counter(), examples)),
    )
    times = np.array([moment for moment, _ in seen])
    examples = np.cumsum([count for _, count in seen])
    half = int(np.searchsorted(examples, examples[-1] / 2))
    rate = (examples[-1] - examples[half]) / (times[-1] - times[half])
    return Turn(examples_per_second=float(rate), workers=_workers(result))


def _workers(result: TrialResult) -> dict[str, Any]:
    told: dict[str, Any] = result.provenance.get("workers", {})
    return told


def speeds(found: list[dict[str, Turn]]) -> Table:
    """Return the rates, and their ratios to the local engine's."""
    table = Table("engine, workers", "examples/s", "of local")
    for name in found[0]:
        rates = [turn[name].examples_per_second for turn in found]
        table.add_row(name, f"{np.median(rates):,.0f}", _spread(_ratios(found, name, LOCAL)))
    return table


def verdicts(found: list[dict[str, Turn]], wanted: list[Goal]) -> Table:
    """Return what was wanted and what came."""
    table = Table("ratio", "wanted", "found [lowest, highest]", "")
    for goal in wanted:
        ratios = _ratios(found, goal.of, goal.to)
        reached = "reached" if np.median(ratios) >= goal.at_least else "missed"
        table.add_row(f"{goal.of} ÷ {goal.to}", f"≥ {goal.at_least}", _spread(ratios), reached)
    return table


def times(turn: dict[str, Turn]) -> Table:
    """Return where a worker's time goes, of the contestants that have workers."""
    steps = ("prepare", "pull", "compute", "push", "wait")
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


def _ratios(found: list[dict[str, Turn]], of: str, to: str) -> list[float]:
    return [turn[of].examples_per_second / turn[to].examples_per_second for turn in found]


def _spread(ratios: list[float]) -> str:
    return f"{np.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]"
