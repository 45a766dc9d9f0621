"""What a sweep's trainings take and cost: read from trials, and as ``sweep_cost.json`` keeps it.

Counted are the embedding rows that training reads, and the time that training itself takes, times
the threads of its processes and, where they use a GPU, a whole one each. Not counted: reading for
evaluation, the time of starting up, evaluating and writing, parameter shards, idle nodes.
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
    """Money for an hour of one core and of one GPU; None where it is not known.

    Where a process has a GPU both are added: give no price for cores where the GPU's includes them.
    """

    per_core_hour: Number | None = None
    per_gpu_hour: Number | None = None
    currency: Label = ""

    @property
    def known(self) -> bool:
        """Whether any price is."""
        return self.per_core_hour is not None or self.per_gpu_hour is not None

    def money(self, core_hours: float, gpu_hours: float) -> float:
        """Return what hours cost; NaN where a price or the hours are not known."""
        if self.per_core_hour is None and (self.per_gpu_hour is None or not gpu_hours):
            return math.nan
        if self.per_gpu_hour is None and gpu_hours:
            return math.nan
        return core_hours * (self.per_core_hour or 0.0) + gpu_hours * (self.per_gpu_hour or 0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """What training on so many examples took; NaN where it is not known."""

    examples: float
    lookups: float
    core_seconds: float
    gpu_seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Spent:
    """What the trials of one arm take, or all together; NaN where it is not known.

    ``basis`` says what hours rest on: ``2 finished trials``, ``a probe of 24 batches``.
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
    """What was to be spent on the trials that were missing, and what all finished ones took."""

    prices: Prices
    estimated: tuple[Spent, ...]
    actual: tuple[Spent, ...]


def usage(trial: Trial) -> Usage | None:
    """Return what a finished trial took, its share of the process; None where it does not tell.

    Raises:
        ResultsError: a file of the trial is damaged.
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
    """Return what the finished trials of each arm took; one that two share counts in the first."""
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
    """Return the sum; NaN where a part is not known."""
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
    """Return a row of what was or will be used."""
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
    """Write ``sweep_cost.json``, whole or not at all; null stands for what is not known."""
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
    """Return what ``sweep_cost.json`` of a sweep's directory holds; None where there is none.

    Raises:
        ResultsError: it is not what a sweep writes.
    """
    path = directory / FILE
    try:
        return read_json(path, Spending)
    except FileNotFoundError:
        return None


def _spent(arm: str, trials: int, told: Sequence[Usage], prices: Prices) -> Spent:
    """Return what trials took; of those that do not tell, nothing is guessed."""
    whole = len(told) == trials
    used = Usage(
        examples=math.fsum(each.examples for each in told) if whole else math.nan,
        lookups=math.fsum(each.lookups for each in told) if whole else math.nan,
        core_seconds=math.fsum(each.core_seconds for each in told) if whole else math.nan,
        gpu_seconds=math.fsum(each.gpu_seconds for each in told) if whole else math.nan,
    )
    basis = "measured" if whole else f"{trials - len(told)} trials do not tell"
    return spent(arm, trials, used, prices, basis)


def _processes(engine: dict[str, Any]) -> float:
    """Return how many processes train; NaN where their number may change on the way."""
    if engine.get("name") not in _OF_WORKERS:
        return 1.0
    workers = engine.get("workers")
    return float(workers) if isinstance(workers, int) else math.nan


def _as_json(row: Spent) -> dict[str, Any]:
    return {
        key: None if isinstance(value, float) and math.isnan(value) else value
        for key, value in asdict(row).items()
    }
