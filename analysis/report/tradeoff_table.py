"""The trade-off table with all columns, as sortable cells."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from analysis.results.summary import ArmSummary, Summary
from analysis.results.tables import Verdict, verdict_of
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
    """A column of the table: its name, heading, and direction."""

    name: str
    heading: str
    shown: Shown | None = None
    better: Literal["less", "more", ""] = ""
    bounded: bool = False


def _column(name: str, heading: str, shown: Shown | None = None, **others: Any) -> Column:
    return Column(name=name, heading=heading, shown=shown, **others)


_LESS: dict[str, Any] = {"better": "less"}
_MEASURED: dict[str, Any] = {"better": "less", "bounded": True}
_MORE: dict[str, Any] = {"better": "more", "bounded": True}

COLUMNS = (
    _column("arm", "arm"),
    _column("relative_pd", "relative PD", _percent, **_MEASURED),
    _column("relative_pd_vs_baseline", "relative PD ÷ baseline", _fixed(2), **_MEASURED),
    _column("log_loss", "log loss", _fixed(4), **_MEASURED),
    _column("log_loss_vs_baseline", "log loss − baseline", _signed, **_MEASURED),
    _column("serve_lookups", "lookups, serve", _fixed(1), **_LESS),
    _column("serve_lookups_vs_baseline", "lookups, serve ÷ baseline", _fixed(2), **_LESS),
    _column("train_lookups", "lookups, train", _fixed(1), **_LESS),
    _column("train_lookups_vs_baseline", "lookups, train ÷ baseline", _fixed(2), **_LESS),
    _column("swap_rate", "swap rate", _percent, **_MEASURED),
    _column("ranking_loss", "ranking loss", _fixed(4), **_MEASURED),
    _column("gauc", "GAUC", _fixed(4), **_MORE),
    _column("auc", "AUC", _fixed(4), **_MORE),
    _column("ne", "NE", _fixed(4), **_MEASURED),
    _column("serve_lookup_bytes", "bytes, serve", _fixed(0), **_LESS),
    _column("parameters", "parameters", _fixed(0), **_LESS),
    _column("train_examples_per_second", "training examples/s", _fixed(0), **_MORE),
    _column("serve_us_per_example", "serving, µs an example", _fixed(2), **_MEASURED),
    _column("activation", "activation"),
    _column("beta", "β", _plain),
    _column("components", "components", _plain),
    _column("replicas", "replicas", _plain),
)

#: Marks of a comparison with the baseline; colour is never the only sign.
MARKS = {"better": "▼", "worse": "▲", "open": "?"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """A text with bounds, sort key ("" sorts last), and comparison."""

    text: str
    bounds: str = ""
    key: float | str = ""
    verdict: Verdict = Verdict.NONE

    @property
    def mark(self) -> str:
        """The name of the verdict: a CSS class and a key of ``MARKS``."""
        return self.verdict.name.lower() if self.verdict else ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """An arm."""

    cells: tuple[Cell, ...]
    is_baseline: bool


def rows(summary: Summary) -> tuple[Row, ...]:
    """Return a row for each arm, with a cell for each of ``COLUMNS``."""
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


def _verdict(column: Column, arm: ArmSummary) -> Verdict:
    versus = arm.versus_baseline
    if column.name == "log_loss_vs_baseline":
        return verdict_of(versus.log_loss, none=0.0)
    if column.name == "relative_pd_vs_baseline":
        return verdict_of(versus.relative_pd, none=1.0)
    return Verdict.NONE
