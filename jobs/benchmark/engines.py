"""How fast the async engine trains beside the local one, and where a worker's time goes.

Criteo's shape: 26 tables of 100,000 rows of 16, 13 dense features, towers 256-128-64, rowwise
Adagrad, batches of 1,024, one thread for each worker. Engines take turns, so that what else the
machine does meets all alike; what is printed are medians of the ratios within a turn. A rate is
taken over the second half of a run, when all workers are there.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from distrib.engines import train
from distrib.session import ray_session
from distrib.trial import Trial, TrialResult
from recsys.config import Recipe
from recsys.data.click_log import ClickLog
from recsys.data.synthetic import Synthetic, write_synthetic
from recsys.seeds import Seeds

BATCH = 1024
TABLES, ROWS, DENSE = 26, 100_000, 13


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One run of one engine."""

    examples_per_second: float
    workers: dict[str, Any]
    """Where a worker's time goes; empty for the local engine"""


def engines(
    batches: Annotated[int, typer.Option(min=64, help="Batches of a run.")] = 1600,
    window: Annotated[int, typer.Option(min=1, help="Batches of a window, τ.")] = 16,
    turns: Annotated[int, typer.Option(min=1, help="Runs of each engine.")] = 3,
    shards: Annotated[int, typer.Option(min=1, help="Shards of the store.")] = 1,
    workers: Annotated[int, typer.Option(min=1, help="Most workers.")] = 2,
) -> None:
    """Print examples/s of the async engine with 1 and more workers, as ratios to the local one."""
    recipes = {"local": _recipe({"name": "local"})}
    for count in sorted({1, workers}):
        server = {"name": "async", "workers": count, "window": window, "shards": shards}
        recipes[f"server, {count}"] = _recipe(server)
    with tempfile.TemporaryDirectory() as place, ray_session():
        log = write_synthetic(
            Path(place) / "log",
            Synthetic(
                rows=batches * BATCH * 10 // 8,
                dense=DENSE,
                cardinalities=(ROWS - 1,) * TABLES,
                bag_cardinalities=(),
            ),
        )
        found = [
            {name: _turn(log, recipe) for name, recipe in recipes.items()} for _ in range(turns)
        ]
    console = Console()
    console.print(_speeds(found))
    console.print(_times(found[-1]))


def _recipe(engine: dict[str, Any]) -> Recipe:
    return Recipe.model_validate(
        {
            "model": {"name": "mlp", "embedding_dim": 16, "hidden": [256, 128, 64]},
            "stream": {"batch_size": BATCH, "shuffle": 0},
            "evaluation": {"points": 1, "progress_examples": 64},
            "engine": {"device": "cpu", "threads": 1, **engine},
        }
    )


def _turn(log: ClickLog, recipe: Recipe) -> Turn:
    trial = Trial(recipe=recipe, seeds=Seeds(), data_fingerprint=log.fingerprint)
    seen: list[tuple[float, int]] = []
    (result,) = train(
        log, [trial], on_progress=lambda examples: seen.append((time.perf_counter(), examples))
    )
    times = np.array([moment for moment, _ in seen])
    examples = np.cumsum([count for _, count in seen])
    half = int(np.searchsorted(examples, examples[-1] / 2))
    rate = (examples[-1] - examples[half]) / (times[-1] - times[half])
    return Turn(examples_per_second=float(rate), workers=_workers(result))


def _workers(result: TrialResult) -> dict[str, Any]:
    told: dict[str, Any] = result.provenance.get("workers", {})
    return told


def _speeds(found: list[dict[str, Turn]]) -> Table:
    table = Table("engine, workers", "examples/s", "of local", "of one worker")
    for name in found[0]:
        rates = [turn[name].examples_per_second for turn in found]
        to_local = [
            turn[name].examples_per_second / turn["local"].examples_per_second for turn in found
        ]
        to_one = [
            turn[name].examples_per_second / turn["server, 1"].examples_per_second for turn in found
        ]
        table.add_row(
            name,
            f"{np.median(rates):,.0f}",
            f"{np.median(to_local):.2f}",
            "" if name == "local" else f"{np.median(to_one):.2f}",
        )
    return table


def _times(turn: dict[str, Turn]) -> Table:
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
