"""Costs of training: estimates from sample batches and measured times, and the actual costs."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field
from rich.box import SIMPLE_HEAD
from rich.table import Table

from analysis.errors import ResultsError
from analysis.results.reading import DONE, Trials
from analysis.results.reading import Trial as FinishedTrial
from analysis.results.spending import (
    COUNTED,
    Prices,
    Spending,
    Spent,
    Usage,
    actual,
    read_spending,
    spent,
    total,
    usage,
    write_spending,
)
from distrib.scheduling.resources import Probe, run_probes, trains_alone
from distrib.scheduling.session import ray_session
from distrib.trials.grouping import Group
from distrib.trials.results import read_trial
from distrib.trials.trial import Trial
from jobs.command import echo, terminal
from jobs.experiment.documents import read_validated
from recsys.cost import LookupCounter
from recsys.data.click_log import ClickLog
from recsys.data.stream import Stream
from recsys.embeddings import table_configs
from recsys.errors import DataError
from recsys.frozen import Frozen
from recsys.models.registry import blueprints

PRICES = Path("cluster", "prices.yaml")
UNKNOWN = "unknown until a trial is done"
_SAMPLES = 16
_MAX_NAMED = 3
_HINT = " until a trial of each is done (--dry-run, or a price, measures a few batches first)"
_WITHOUT_EFFECT = ("sparse_learning_rate", "dense_learning_rate", "eps")
"""Optimizer fields that do not change the time of a batch"""
_LIMITATION = {
    "async": ", if workers scale",
    "sync": ", if workers scale",
    "virtual_async": ", without its store",
}
"""What the cost of a process that trains alone leaves out, by engine"""


class _PriceConfig(Frozen):
    per_core_hour: float | None = Field(None, ge=0)
    per_gpu_hour: float | None = Field(None, ge=0)
    currency: str = ""


def read_prices(
    path: Path | None, *, per_core_hour: float | None = None, per_gpu_hour: float | None = None
) -> Prices:
    """Return the prices of a file, by default ``cluster/prices.yaml``; arguments override it.

    Raises ConfigError if the file cannot be read or is not valid.
    """
    found = _PriceConfig()
    if path is not None or PRICES.exists():
        found = read_validated(path or PRICES, _PriceConfig)
    return Prices(
        per_core_hour=found.per_core_hour if per_core_hour is None else per_core_hour,
        per_gpu_hour=found.per_gpu_hour if per_gpu_hour is None else per_gpu_hour,
        currency=found.currency,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class ExampleCost:
    """The time that training takes for an example of one replica, and how it was measured."""

    core_seconds: float
    gpu_seconds: float
    basis: str


def shape_of(recipe: Mapping[str, Any], fused: int) -> str:
    """Return everything that decides the time of an example, as a key.

    That is the recipe in ``config.json`` without learning rates, number of epochs, evaluation and
    the parameters of activations, and the number of replicas in a process.
    """
    optimizer = {k: v for k, v in recipe["optimizer"].items() if k not in _WITHOUT_EFFECT}
    activation = recipe["arm"]["activation"].split("(")[0].strip().lower()
    deciding = {
        "arm": recipe["arm"] | {"activation": activation},
        "model": recipe["model"],
        "optimizer": optimizer,
        "stream": recipe["stream"] | {"epochs": None},
        "engine": recipe["engine"],
        "fused": fused,
    }
    return json.dumps(deciding, sort_keys=True)


def shape_of_group(group: Group) -> str:
    """Return the shape of a group."""
    return shape_of(group.recipe.model_dump(mode="json"), len(group.trials))


def shape_of_process(group: Group) -> str:
    """Return the shape of one process of a group that trains alone, with the local engine."""
    return shape_of(trains_alone(group.recipe).model_dump(mode="json"), len(group.trials))


def measured_costs(directory: Path, log: ClickLog) -> dict[str, ExampleCost]:
    """Return the cost of each shape that has a finished trial in a sweep's directory.

    Skips trials on other data, and damaged ones, which the report refuses.
    """
    found: dict[str, list[Usage]] = {}
    for done in sorted(directory.glob(f"trials/[!.]*/{DONE}")):
        trial = FinishedTrial(directory=done.parent, replica=0)
        try:
            used, trained = usage(trial), read_trial(trial.directory)
        except (ResultsError, DataError):
            continue
        if used is None or math.isnan(used.core_seconds):
            continue
        if trained.data_fingerprint == log.fingerprint:
            fused = trial.document("provenance.json").get("fused_replicas", 1)
            recipe = trained.recipe.model_dump(mode="json")
            found.setdefault(shape_of(recipe, fused), []).append(used)
    return {shape: _mean_cost(used) for shape, used in found.items()}


def groups_to_probe(
    groups: Iterable[Group], known: Mapping[str, ExampleCost], prices: Prices, *, requested: bool
) -> dict[str, Group]:
    """Return one group of each shape to probe, by shape: those without a finished trial.

    None unless a probe is requested or a price is known: money is shown before it is spent.
    """
    if not (requested or prices.known):
        return {}
    return {shape_of_process(group): group for group in groups if _cost_of(group, known) is None}


def probed_costs(shapes: Iterable[str], probes: Iterable[Probe | str]) -> dict[str, ExampleCost]:
    """Return the costs that probes measured; NaN, with the reason, for one that failed."""
    return {
        shape: ExampleCost(
            core_seconds=math.nan, gpu_seconds=math.nan, basis=f"the probe failed: {probe}"
        )
        if isinstance(probe, str)
        else ExampleCost(
            core_seconds=probe.core_seconds,
            gpu_seconds=probe.gpu_seconds,
            basis=f"a probe of {probe.batches} batches",
        )
        for shape, probe in zip(shapes, probes, strict=True)
    }


def estimate(
    log: ClickLog, groups: Sequence[Group], known: Mapping[str, ExampleCost], prices: Prices
) -> tuple[Spent, ...]:
    """Return the estimated costs of groups, a row for each title; NaN where unknown."""
    lookups: dict[str, float] = {}
    rows: dict[str, list[tuple[Group, Usage, str]]] = {}
    for group in groups:
        shape = shape_of_group(group)
        if shape not in lookups:
            lookups[shape] = lookups_per_example(log, group.trials[0])
        examples = len(log.splits["train"]) * group.recipe.stream.epochs * len(group.trials)
        cost = _cost_of(group, known) or ExampleCost(
            core_seconds=math.nan, gpu_seconds=math.nan, basis=UNKNOWN
        )
        used = Usage(
            examples=examples,
            lookups=examples * lookups[shape],
            core_seconds=examples * cost.core_seconds,
            gpu_seconds=examples * cost.gpu_seconds,
        )
        rows.setdefault(group.title, []).append((group, used, cost.basis))
    return tuple(_row(title, parts, prices) for title, parts in rows.items())


def lookups_per_example(log: ClickLog, trial: Trial) -> float:
    """Return the embedding rows that all phases of training read for an example.

    Counted on batches spread over the training stream, as multi-valued features differ.
    """
    recipe = trial.recipe
    stream = Stream(log, "train", recipe.stream, [trial.seeds])
    groups = recipe.arm.layout(recipe.model.embedding_dim)
    models = blueprints(groups, recipe.model, log.schema)
    counter = LookupCounter(unique_every=_SAMPLES)
    for number in np.unique(np.linspace(0, stream.batch_count - 1, _SAMPLES).astype(int)):
        (batch,) = stream.batches(int(number), int(number) + 1)
        for phase in recipe.arm.phases:
            trained = [group for group in groups if group.name in phase.groups]
            tables = table_configs(trained, models, 1)
            counter.count(tables, batch, again=phase != recipe.arm.phases[-1])
    return counter.lookups().per_example


def _cost_of(group: Group, known: Mapping[str, ExampleCost]) -> ExampleCost | None:
    """Return the cost of a group, or of one of its processes with the limitation of that."""
    own, alone = known.get(shape_of_group(group)), known.get(shape_of_process(group))
    if own is not None or alone is None:
        return own
    if math.isnan(alone.core_seconds):
        return alone
    return replace(alone, basis=alone.basis + _LIMITATION[group.recipe.engine.name])


def _row(title: str, parts: Sequence[tuple[Group, Usage, str]], prices: Prices) -> Spent:
    used = Usage(
        examples=sum(part.examples for _, part, _ in parts),
        lookups=math.fsum(part.lookups for _, part, _ in parts),
        core_seconds=math.fsum(part.core_seconds for _, part, _ in parts),
        gpu_seconds=math.fsum(part.gpu_seconds for _, part, _ in parts),
    )
    trials = sum(len(group.trials) for group, _, _ in parts)
    basis = "; ".join(dict.fromkeys(basis for _, _, basis in parts))
    return spent(title, trials, used, prices, basis)


def _mean_cost(used: Sequence[Usage]) -> ExampleCost:
    examples = math.fsum(each.examples for each in used)
    return ExampleCost(
        core_seconds=math.fsum(each.core_seconds for each in used) / examples,
        gpu_seconds=math.fsum(each.gpu_seconds for each in used) / examples,
        basis=f"{len(used)} finished trial{'s' if len(used) > 1 else ''}",
    )


def estimated_costs(
    log: ClickLog, directory: Path, groups: Sequence[Group], prices: Prices, *, probe: bool = False
) -> tuple[Spent, ...]:
    """Return the estimated costs of groups, from finished trials in a sweep's directory.

    With ``probe``, or if a price is known, measures other shapes on a few batches on Ray, and
    prints how long that took.
    """
    known = measured_costs(directory, log)
    unknown = groups_to_probe(groups, known, prices, requested=probe)
    if unknown:
        with ray_session():
            started = time.monotonic()
            probes = run_probes(log, [group.trials for group in unknown.values()])
            seconds = time.monotonic() - started
        known |= probed_costs(unknown, probes)
        shapes = "1 shape of arm" if len(unknown) == 1 else f"{len(unknown)} shapes of arms"
        echo(f"A probe of {shapes} took {seconds:.0f} s; its results are not kept.")
    return estimate(log, groups, known, prices)


def write_costs(
    directory: Path, arms: Iterable[Trials], rows: Sequence[Spent], prices: Prices
) -> tuple[Spent, ...]:
    """Write an estimate and the actual costs to ``sweep_cost.json``; return the latter.

    Keeps the previous estimate if nothing was left to estimate.
    """
    before = read_spending(directory)
    estimated = before.estimated if before is not None and not rows else tuple(rows)
    finished = actual(arms, prices)
    write_spending(directory, Spending(prices=prices, estimated=estimated, actual=finished))
    return finished


def print_costs(title: str, rows: Sequence[Spent], prices: Prices) -> None:
    """Print rows, their sum and what is counted; with money if a price is known."""
    money = (prices.currency or "money",) if prices.known else ()
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, title=title)
    table.add_column("arm")
    for heading in ("trials", "lookups", "core-hours", "GPU-hours", *money):
        table.add_column(heading, justify="right")
    table.add_column("known from")
    sum_row = total(rows)
    for row in (*rows, sum_row):
        numbers = [row.lookups, row.core_hours, row.gpu_hours, *([row.money] if money else ())]
        cells = (row.arm, f"{row.trials:,}", *map(_number, numbers), row.basis)
        table.add_row(*cells, style="bold" if row is sum_row else None)
    console = terminal()
    console.print(table)
    console.print(COUNTED)


def estimate_summary(rows: Sequence[Spent], prices: Prices) -> str:
    """Return the sum of an estimate in one line, with its basis, or how to know it."""
    hint = "" if prices.known else _HINT
    basis = "; ".join(dict.fromkeys(row.basis for row in rows if row.basis != UNKNOWN))
    line = f"to train: {_sum_line(rows, prices, hint)}"
    return f"{line} ({basis})" if basis else line


def actual_summary(rows: Sequence[Spent], prices: Prices) -> str:
    """Return the sum of the costs of finished trials in one line."""
    return f"finished: {_sum_line(rows, prices, '')}"


def _sum_line(rows: Sequence[Spent], prices: Prices, hint: str) -> str:
    row = total(rows)
    unknown = [each.arm for each in rows if math.isnan(each.core_hours)]
    parts = [f"{row.trials} trials", f"{_number(row.lookups)} lookups"]
    if unknown:
        names = ", ".join(unknown)
        if len(unknown) > _MAX_NAMED:
            names = f"{len(unknown)} of {len(rows)} arms"
        parts.append(f"hours{'' if len(unknown) == len(rows) else f' of {names}'} unknown{hint}")
    else:
        parts.append(f"{_number(row.core_hours)} core-hours")
        if row.gpu_hours:
            parts.append(f"{_number(row.gpu_hours)} GPU-hours")
    if not math.isnan(row.money):
        parts.append(f"{_number(row.money)} {prices.currency}".strip())
    return ", ".join(parts)


def _number(value: float) -> str:
    if math.isnan(value):
        return "unknown"
    return f"{value:,.0f}" if value >= 1000 or value == 0 else f"{value:.3g}"
