"""Resources and money that a sweep's trainings take; ``sweep_cost.json``.

Counted: embedding rows read in training, and training time multiplied by the threads of its
processes and, with a GPU, by one GPU each. Not counted: evaluation, startup, writing, parameter
shards, idle nodes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from analysis.atomic_files import write_whole
from analysis.results.files import Count, Label, Number, OrNaN, read_json
from analysis.results.reading import Trial, Trials

FILE = "sweep_cost.json"
COUNTED = (
    "Lookups are the embedding rows that training reads. Hours are those of training itself, times "
    "the threads or GPUs of its processes; starting up, evaluation, parameter shards and idle "
    "nodes come on top."
)
_HOUR_S = 3600.0
#: What has to be there to tell what a trial took.
_NEEDED = ("cost.json", "config.json", "provenance.json", "progress.parquet")
#: Engines of which every worker is a process of its own with the recipe's threads.
_OF_WORKERS = ("async", "sync")


@dataclass(frozen=True, kw_only=True, slots=True)
class Prices:
    """Price of one core-hour and one GPU-hour; None if unknown.

    A process with a GPU costs both: omit the core price if the GPU price includes it.
    """

    per_core_hour: Number | None = None
    per_gpu_hour: Number | None = None
    currency: Label = ""

    @property
    def known(self) -> bool:
        """Whether any price is known."""
        return self.per_core_hour is not None or self.per_gpu_hour is not None

    def money(self, core_hours: float, gpu_hours: float) -> float:
        """Return the price of hours; NaN if a price or the hours are unknown."""
        if self.per_core_hour is None and (self.per_gpu_hour is None or not gpu_hours):
            return math.nan
        if self.per_gpu_hour is None and gpu_hours:
            return math.nan
        return core_hours * (self.per_core_hour or 0.0) + gpu_hours * (self.per_gpu_hour or 0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """Resources for a number of training examples; NaN if unknown."""

    examples: float
    lookups: float
    core_seconds: float
    gpu_seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Spent:
    """Resources of the trials of one arm, or of all; NaN if unknown.

    ``basis`` names the source of the hours: ``2 finished trials``, ``a probe of 24 batches``.
    """

    arm: Label
    trials: Count
    lookups: OrNaN
    core_hours: OrNaN
    gpu_hours: OrNaN
    money: OrNaN
    basis: Label


@dataclass(frozen=True, kw_only=True, slots=True)
class Spending:
    """The estimate for the missing trials, and the actual usage of the finished ones."""

    prices: Prices
    estimated: tuple[Spent, ...]
    actual: tuple[Spent, ...]


def usage(trial: Trial) -> Usage | None:
    """Return a finished trial's share of its process's usage; None if not recorded.

    Raises:
        ResultsError: a file of the trial is invalid.
    """
    if not all(trial.has(name) for name in _NEEDED):
        return None
    cost, provenance = trial.document("cost.json"), trial.document("provenance.json")
    examples = float(trial.table("progress.parquet", ("examples",))["examples"].max())
    engine = trial.document("config.json")["recipe"]["engine"]
    seconds = examples / cost["train_examples_per_second"] * _processes(engine)
    on_gpu = provenance["machine"]["device"].startswith("cuda")
    return Usage(
        examples=examples,
        lookups=examples * cost["train_lookups"],
        core_seconds=seconds * provenance.get("threads", math.nan),
        gpu_seconds=seconds if on_gpu else 0.0,
    )


def actual(arms: Iterable[Trials], prices: Prices) -> tuple[Spent, ...]:
    """Return the usage of each arm's finished trials; a shared trial counts in the first arm."""
    seen: set[Path] = set()
    rows = []
    for arm in arms:
        mine = [each for each in arm.done if each.directory not in seen]
        seen |= {each.directory for each in mine}
        told = [found for each in mine if (found := usage(each)) is not None]
        if mine:
            rows.append(_spent(arm.name, len(mine), told, prices))
    return tuple(rows)


def total(rows: Sequence[Spent]) -> Spent:
    """Return the sum; NaN if a part is unknown."""
    return Spent(
        arm="all",
        trials=sum(row.trials for row in rows),
        lookups=math.fsum(row.lookups for row in rows),
        core_hours=math.fsum(row.core_hours for row in rows),
        gpu_hours=math.fsum(row.gpu_hours for row in rows),
        money=math.fsum(row.money for row in rows),
        basis="",
    )


def spent(arm: str, trials: int, used: Usage, prices: Prices, basis: str) -> Spent:
    """Return a row of estimated or actual usage."""
    core_hours, gpu_hours = used.core_seconds / _HOUR_S, used.gpu_seconds / _HOUR_S
    return Spent(
        arm=arm,
        trials=trials,
        lookups=used.lookups,
        core_hours=core_hours,
        gpu_hours=gpu_hours,
        money=prices.money(core_hours, gpu_hours),
        basis=basis,
    )


def write_spending(directory: Path, spending: Spending) -> Path:
    """Write ``sweep_cost.json`` atomically; null means unknown."""
    contents = {
        "prices": asdict(spending.prices),
        "estimated": [_as_json(row) for row in spending.estimated],
        "actual": [_as_json(row) for row in spending.actual],
        "counted": COUNTED,
    }
    text = json.dumps(contents, indent=2, allow_nan=False) + "\n"
    return write_whole(
        directory / FILE, lambda unfinished: unfinished.write_text(text, encoding="utf-8")
    )


def read_spending(directory: Path) -> Spending | None:
    """Return the content of ``sweep_cost.json``; None if it is missing.

    Raises:
        ResultsError: it is invalid.
    """
    path = directory / FILE
    try:
        return read_json(path, Spending)
    except FileNotFoundError:
        return None


def _spent(arm: str, trials: int, told: Sequence[Usage], prices: Prices) -> Spent:
    """Return the usage of trials that recorded it."""
    whole = len(told) == trials
    used = Usage(
        examples=math.fsum(each.examples for each in told) if whole else math.nan,
        lookups=math.fsum(each.lookups for each in told) if whole else math.nan,
        core_seconds=math.fsum(each.core_seconds for each in told) if whole else math.nan,
        gpu_seconds=math.fsum(each.gpu_seconds for each in told) if whole else math.nan,
    )
    basis = "measured" if whole else f"{trials - len(told)} trials without a record"
    return spent(arm, trials, used, prices, basis)


def _processes(engine: dict[str, Any]) -> float:
    """Return the number of training processes; NaN if it is elastic."""
    if engine.get("name") not in _OF_WORKERS:
        return 1.0
    workers = engine.get("workers")
    return float(workers) if isinstance(workers, int) else math.nan


def _as_json(row: Spent) -> dict[str, Any]:
    return {
        key: None if isinstance(value, float) and math.isnan(value) else value
        for key, value in asdict(row).items()
    }
