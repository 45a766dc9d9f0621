"""The trade-off table with all its columns, as cells that can be sorted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from analysis.intervals import Comparison
from analysis.summary import ArmSummary, Summary
from analysis.tradeoff import table_of

Shown = Callable[[float], str]


def _fixed(digits: int) -> Shown:
    return lambda value: f"{value:,.{digits}f}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _signed(value: float) -> str:
    return f"{value:+.4f}".replace("-", "−")


def _plain(value: float) -> str:
    return f"{value:g}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A column of the trade-off table: its name there, its heading, and which end of it is good."""

    name: str
    heading: str
    shown: Shown | None = None
    better: Literal["less", "more", ""] = ""
    bounded: bool = False


COLUMNS = (
    Column(name="arm", heading="arm"),
    Column(name="relative_pd", heading="relative PD", shown=_percent, better="less", bounded=True),
    Column(
        name="relative_pd_vs_baseline",
        heading="relative PD ÷ baseline",
        shown=_fixed(2),
        better="less",
        bounded=True,
    ),
    Column(name="log_loss", heading="log loss", shown=_fixed(4), better="less", bounded=True),
    Column(
        name="log_loss_vs_baseline",
        heading="log loss − baseline",
        shown=_signed,
        better="less",
        bounded=True,
    ),
    Column(name="serve_lookups", heading="lookups, serve", shown=_fixed(1), better="less"),
    Column(
        name="serve_lookups_vs_baseline",
        heading="lookups, serve ÷ baseline",
        shown=_fixed(2),
        better="less",
    ),
    Column(name="train_lookups", heading="lookups, train", shown=_fixed(1), better="less"),
    Column(
        name="train_lookups_vs_baseline",
        heading="lookups, train ÷ baseline",
        shown=_fixed(2),
        better="less",
    ),
    Column(name="swap_rate", heading="swap rate", shown=_percent, better="less", bounded=True),
    Column(
        name="ranking_loss", heading="ranking loss", shown=_fixed(4), better="less", bounded=True
    ),
    Column(name="gauc", heading="GAUC", shown=_fixed(4), better="more", bounded=True),
    Column(name="auc", heading="AUC", shown=_fixed(4), better="more", bounded=True),
    Column(name="ne", heading="NE", shown=_fixed(4), better="less", bounded=True),
    Column(name="serve_lookup_bytes", heading="bytes, serve", shown=_fixed(0), better="less"),
    Column(name="parameters", heading="parameters", shown=_fixed(0), better="less"),
    Column(
        name="train_examples_per_second",
        heading="training examples/s",
        shown=_fixed(0),
        better="more",
        bounded=True,
    ),
    Column(
        name="serve_us_per_example",
        heading="serving, µs an example",
        shown=_fixed(2),
        better="less",
        bounded=True,
    ),
    Column(name="activation", heading="activation"),
    Column(name="beta", heading="β", shown=_plain),
    Column(name="components", heading="components", shown=_plain),
    Column(name="replicas", heading="replicas", shown=_plain),
)

#: What a settled or open comparison with the baseline is marked with; a colour is never alone.
MARKS = {"better": "▼", "worse": "▲", "open": "?"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """A text with its bounds, what it is sorted by ("" is last), and how it compares."""

    text: str
    bounds: str = ""
    key: float | str = ""
    verdict: Literal["better", "worse", "open", ""] = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """An arm."""

    cells: tuple[Cell, ...]
    is_baseline: bool


def rows(summary: Summary) -> tuple[Row, ...]:
    """Return a row for each arm, a cell for each of ``COLUMNS``."""
    table = table_of(summary).to_dict("records")
    return tuple(
        Row(
            cells=tuple(_cell(column, record, arm, is_baseline=base) for column in COLUMNS),
            is_baseline=base,
        )
        for record, arm in zip(table, summary.arms, strict=True)
        for base in [arm.arm is summary.sweep.baseline]
    )


def _cell(
    column: Column, record: dict[str, float | str], arm: ArmSummary, *, is_baseline: bool
) -> Cell:
    value = record[column.name]
    if isinstance(value, str) or column.shown is None:
        return Cell(text=str(value), key=str(value).lower())
    if math.isnan(value):
        return Cell(text="–")
    if is_baseline and column.name.endswith("_vs_baseline"):
        return Cell(text="baseline", key=float(value))
    return Cell(
        text=column.shown(value),
        bounds=_bounds(column, record),
        key=float(value),
        verdict=_verdict(column, arm),
    )


def _bounds(column: Column, record: dict[str, float | str]) -> str:
    if not column.bounded or column.shown is None:
        return ""
    low, high = (float(record[f"{column.name}_{end}"]) for end in ("low", "high"))
    return "" if math.isnan(low) else f"[{column.shown(low)}, {column.shown(high)}]"


def _verdict(column: Column, arm: ArmSummary) -> Literal["better", "worse", "open", ""]:
    compared: dict[str, tuple[Comparison, float]] = {
        "log_loss_vs_baseline": (arm.versus_baseline.log_loss, 0.0),
        "relative_pd_vs_baseline": (arm.versus_baseline.relative_pd, 1.0),
    }
    if column.name not in compared:
        return ""
    comparison, none = compared[column.name]
    if math.isnan(comparison.interval.low):
        return ""
    if not comparison.settled:
        return "open"
    return "better" if comparison.interval.value < none else "worse"
