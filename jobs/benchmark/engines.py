"""The async engine beside the local one: speed, how many workers a store feeds, recovery.

Criteo's shape: 26 tables of 100,000 rows of 16, 13 dense features, towers 256-128-64, rowwise
Adagrad, batches of 1,024, one thread for each worker.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from distrib.scheduling.session import ray_session
from jobs.benchmark import _feeding, _recovery, _speed
from jobs.benchmark._criteo import write_log
from jobs.benchmark._turns import verdicts


class Part(StrEnum):
    """What can be measured alone."""

    SPEED = "speed"
    FEEDING = "feeding"
    RECOVERY = "recovery"


def engines(
    part: Annotated[
        list[Part] | None, typer.Option(help="Measure this alone; may be given again.")
    ] = None,
    batches: Annotated[int, typer.Option(min=64, help="Batches of a run.")] = 1600,
    window: Annotated[int, typer.Option(min=1, help="Batches of a window, τ.")] = 16,
    turns: Annotated[int, typer.Option(min=1, help="Runs of each engine.")] = 3,
    shards: Annotated[int, typer.Option(min=1, help="Shards of the store.")] = 1,
    workers: Annotated[int, typer.Option(min=2, help="Most workers that really train.")] = 2,
    step_ms: Annotated[
        float, typer.Option(min=0, help="A GPU's time for a batch, which workers sleep instead.")
    ] = 2.0,
) -> None:
    """Print examples/s as ratios to the local engine, what a store feeds, seconds to recover."""
    wanted = set(part or Part)
    console = Console()
    with tempfile.TemporaryDirectory() as place, ray_session():
        log = write_log(Path(place) / "log", batches)
        if Part.SPEED in wanted:
            recipes = _speed.contestants(window, shards, workers)
            found = _speed.measure(log, recipes, turns)
            judged = verdicts(_speed.rates(found), _speed.goals(workers))
            _print(console, [_speed.speeds(found), judged, _speed.times(found[-1])])
        if Part.FEEDING in wanted:
            _print(console, _feeding.measured(log, window, step_ms / 1000))
        if Part.RECOVERY in wanted:
            _print(console, _recovery.measured(log, Path(place), window, workers))


def _print(console: Console, tables: Iterable[Table]) -> None:
    for table in tables:
        console.print(table)
