"""What training and serving cost, as counted and as timed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import pandas as pd

from analysis.page.elements import Absent, Listing, Numbers
from analysis.results import ArmResults, SweepResults
from analysis.spending import COUNTED, Prices, Spent, actual, read_spending, total


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A quantity of ``cost.json``: its key, its heading and how a mean over replicas is shown."""

    key: str
    heading: str
    shown: Callable[[float], str]


def _decimal(value: float) -> str:
    return f"{value:,.1f}"


def _whole(value: float) -> str:
    return f"{value:,.0f}"


COLUMNS = (
    Column(key="train_lookups", heading="lookups, train", shown=_decimal),
    Column(key="serve_lookups", heading="lookups, serve", shown=_decimal),
    Column(key="train_lookup_bytes", heading="lookup bytes, train", shown=_whole),
    Column(key="serve_lookup_bytes", heading="lookup bytes, serve", shown=_whole),
    Column(key="train_unique_rows", heading="distinct rows a batch", shown=_whole),
    Column(key="train_dense_flops", heading="dense FLOPs, train", shown=_whole),
    Column(key="serve_dense_flops", heading="dense FLOPs, serve", shown=_whole),
    Column(key="parameters", heading="parameters served", shown=_whole),
    Column(key="optimizer_state_elements", heading="optimizer state, numbers", shown=_whole),
    Column(key="train_examples_per_second", heading="training examples/s", shown=_whole),
    Column(key="serve_us_per_example", heading="serving, µs an example", shown=_decimal),
    Column(key="serve_latency_us_p50", heading="serving latency p50, µs", shown=_whole),
    Column(key="serve_latency_us_p99", heading="serving latency p99, µs", shown=_whole),
)


def costs(sweep: SweepResults) -> Listing | Absent:
    """Return what each arm costs an example, the mean over its finished replicas."""
    title = "Cost of an example"
    arms = [arm for arm in sweep.arms if arm.done]
    if not arms:
        return Absent(title=title, reason="no trial is finished")
    columns = [each for each in COLUMNS if any(each.key in arm.cost for arm in arms)]
    return Listing(
        title=title,
        text="Lookups, bytes, FLOPs and parameters are counted. Times are those of the machine"
        " named under provenance; replicas trained side by side were timed together, so compare"
        " arms of one sweep, not sweeps.",
        numbers=Numbers(
            headings=("arm", *(each.heading for each in columns)),
            rows=tuple((arm.name, *(_mean(arm, each) for each in columns)) for arm in arms),
        ),
    )


def spent(sweep: SweepResults) -> Listing | Absent:
    """Return what training the finished trials took, beside what was estimated before.

    Money where the sweep was given prices.
    """
    title = "Cost of the sweep"
    kept = read_spending(sweep.directory)
    prices = kept.prices if kept else Prices()
    expected = {row.arm: row for row in kept.estimated} if kept else {}
    alone = [
        replace(each, name=f"{sweep.baseline.name} ({each.name} alone)") for each in sweep.sources
    ]
    rows = actual([*sweep.arms, *alone], prices)
    if not rows:
        return Absent(title=title, reason="no trial is finished")
    priced = prices.per_core_hour is not None or prices.per_gpu_hour is not None
    money = (prices.currency or "money",) if priced else ()
    unpriced = "" if priced else " Money is told where the sweep is given prices."
    return Listing(
        title=title,
        text=COUNTED + unpriced,
        numbers=Numbers(
            headings=(
                *("arm", "trials", "lookups", "core-hours", "GPU-hours", *money),
                *("estimated core-hours", "estimate from"),
            ),
            rows=tuple(_spent(row, expected.get(row.arm), priced) for row in (*rows, total(rows))),
        ),
    )


def _spent(row: Spent, estimate: Spent | None, priced: bool) -> tuple[str, ...]:
    return (
        row.arm,
        f"{row.trials:,}",
        _number(row.lookups),
        _number(row.core_hours),
        _number(row.gpu_hours),
        *((_number(row.money),) if priced else ()),
        _number(estimate.core_hours) if estimate else "",
        estimate.basis if estimate else "",
    )


def _number(value: float) -> str:
    if math.isnan(value):
        return "unknown"
    return f"{value:,.0f}" if value >= 1000 or value == 0 else f"{value:.3g}"


def _mean(arm: ArmResults, column: Column) -> str:
    values = arm.cost.get(column.key, pd.Series(dtype=float))
    return column.shown(float(values.mean())) if len(values) else "not measured"
