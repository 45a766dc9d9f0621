"""What a figure consists of, and the one that most figures are: a line for each arm."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import altair as alt

from analysis.figures.render import HEIGHT, WIDTH, by_series, known
from analysis.statistics.intervals import Interval


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A chart with its caption and, for readers who cannot see or point, its numbers.

    ``name`` is the file name and, in the page, the identifier. ``text`` says what is drawn and how
    to read it. ``facts`` holds what each mark stands for, by heading. ``has_arms``: the page lets
    its reader choose the arms drawn.
    """

    name: str
    title: str
    text: str
    chart: alt.TopLevelMixin
    facts: tuple[dict[str, str], ...]
    has_arms: bool = False

    @property
    def numbers(self) -> tuple[tuple[str, ...], ...]:
        """The facts as a table; its first row holds the headings."""
        return (tuple(self.facts[0]), *(tuple(each.values()) for each in self.facts))


@dataclass(frozen=True, kw_only=True, slots=True)
class Absent:
    """A figure or table that the results do not suffice for, and why."""

    title: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """A point of an arm's line; ``facts`` are shown when it is pointed at."""

    arm: str
    x: float | str
    y: float
    facts: dict[str, str]
    low: float = math.nan
    high: float = math.nan

    @property
    def row(self) -> dict[str, Any]:
        """The mark as a row of a chart's data."""
        row = {"arm": self.arm, "x": self.x, "y": known(self.y), "tip": tooltip(self.facts)}
        return row | {"low": known(self.low), "high": known(self.high)}


def tooltip(facts: dict[str, str]) -> str:
    """Return what a mark shows when pointed at: the first fact's value, then a fact a line."""
    title, *others = facts.items()
    return "\n".join([title[1], *(f"{name} {value}" for name, value in others if value)])


def distinct_first(names: Iterable[str], first: Collection[str]) -> list[str]:
    """Return names in the order of their looks: those in ``first`` get the most distinct ones."""
    return sorted(dict.fromkeys(names), key=lambda name: name not in first)


def chosen_arms(names: Sequence[str]) -> alt.Parameter:
    """Return the parameter ``arms``: the arms drawn, all of them unless the page says otherwise."""
    return alt.param(name="arms", value=list(names))


CHOSEN = "indexof(arms, datum.arm) >= 0"
#: The legend names the arms drawn.
LEGEND = alt.Legend(title=None, values=alt.ExprRef("arms"))


def line_figure(
    name: str,
    title: str,
    text: str,
    marks: Sequence[Mark],
    *,
    x: alt.X,
    y: alt.Y,
    first: Collection[str] = (),
) -> Figure:
    """Return a figure with a line for each arm and, where marks have bounds, error bars.

    ``x`` and ``y`` describe the axes; their fields are ``x`` and ``y``.
    """
    arms = distinct_first((mark.arm for mark in marks), first)
    look = by_series("arm", arms, legend=LEGEND)
    base = alt.Chart(alt.Data(values=[mark.row for mark in marks])).transform_filter(CHOSEN)
    lines = base.mark_line().encode(x=x, y=y, color=look["color"], strokeDash=look["strokeDash"])
    points = base.mark_point().encode(
        x=x, y=y, color=look["color"], shape=look["shape"], tooltip="tip:N"
    )
    layers = [lines, points]
    if any(not math.isnan(mark.low) for mark in marks):
        layers.insert(0, base.mark_rule().encode(x=x, y="low:Q", y2="high:Q", color=look["color"]))
    chart = alt.layer(*layers).add_params(chosen_arms(arms))
    return Figure(
        name=name,
        title=title,
        text=text,
        chart=chart.properties(width=WIDTH, height=HEIGHT, title=title),
        facts=tuple(mark.facts for mark in marks),
        has_arms=True,
    )


def in_percent(share: Interval) -> Interval:
    """Return a share in percent."""
    value, low, high = (100.0 * each for each in (share.value, share.low, share.high))
    return replace(share, value=value, low=low, high=high)
