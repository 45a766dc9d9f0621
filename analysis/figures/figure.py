"""The parts of a figure, and the most common one: a line for each arm."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import altair as alt
import numpy as np
from numpy.typing import NDArray

from analysis.figures.render import HEIGHT, WIDTH, by_series, known
from analysis.statistics.intervals import Interval

Floats = NDArray[np.float64]

FONT_SIZE = 11
#: Of a character, as a share of the font size: a little more than DejaVu Sans has on average.
CHARACTER = 0.62
LINE = 1.25
#: Distances to try, in pixels; from ``LEADER_FROM`` on a thin line leads back to the point.
DISTANCES = (9.0, 15.0, 24.0, 36.0, 50.0, 66.0, 84.0, 104.0)
LEADER_FROM = 20.0
ANGLES = np.deg2rad(np.arange(0, 360, 15))
ROUNDS = 4
#: Costs of covering a label (a square pixel), covering a mark, leaving the plot (a pixel) and of
#: distance to the point (a pixel).
LABEL, MARK, OUTSIDE, DISTANCE = 20.0, 40.0, 120.0, 5.0


def place_labels(texts: Sequence[str], anchors: Floats, marks: Floats, extent: Floats) -> Floats:
    """Return the offset ``(P, 2)`` of the centre of each text from its anchor, in pixels.

    ``anchors`` ``(P, 2)`` and ``marks`` ``(M, 2)``, which should not be covered, are pixels in a
    plot of size ``extent``. In a few rounds, each text takes the best position given the others.
    """
    sizes = label_sizes(texts)
    direction = np.array([(np.cos(angle), np.sin(angle)) for angle in ANGLES])
    choices = []
    for size in sizes:
        # The text's near edge, not its middle, lies at the distance.
        edge = np.sign(np.round(direction, 6)) * size / 2 * (np.abs(direction) > 0.3)
        choices.append(np.array([each * direction + edge for each in DISTANCES]).reshape(-1, 2))
    alone = [
        _cost_alone(anchor + offsets, size, marks, extent)
        + DISTANCE * np.repeat(DISTANCES, len(ANGLES))
        for anchor, offsets, size in zip(anchors, choices, sizes, strict=True)
    ]
    taken = np.array(
        [offsets[np.argmin(cost)] for offsets, cost in zip(choices, alone, strict=True)]
    )
    for _, number in product(range(ROUNDS), range(len(texts))):
        centres = anchors[number] + choices[number]
        others = np.arange(len(texts)) != number
        gap = np.abs(centres[:, None] - (anchors + taken)[others])
        overlap = (sizes[number] + sizes[others]) / 2 - gap
        covered = np.prod(np.maximum(overlap, 0.0), axis=2).sum(axis=1)
        taken[number] = choices[number][np.argmin(alone[number] + LABEL * covered)]
    return taken


def label_sizes(texts: Sequence[str]) -> Floats:
    """Return the estimated width and height of each text with a margin, in pixels."""
    return np.array([(CHARACTER * FONT_SIZE * len(text) + 4, LINE * FONT_SIZE) for text in texts])


def _cost_alone(centres: Floats, size: Floats, marks: Floats, extent: Floats) -> Floats:
    inside = np.all(np.abs(marks - centres[:, None]) <= size / 2, axis=2).sum(axis=1)
    low, high = centres - size / 2, centres + size / 2
    outside = (np.maximum(-low, 0) + np.maximum(high - extent, 0)).sum(axis=1)
    return np.asarray(MARK * inside + OUTSIDE * outside, np.float64)


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A chart with its caption and an accessible table of its numbers.

    ``name`` is the file name and the identifier in the page. ``text`` explains the chart. ``facts``
    are the values of each mark, by heading. ``has_arms``: the reader can select arms in the page.
    """

    name: str
    title: str
    text: str
    chart: alt.TopLevelMixin
    facts: tuple[dict[str, str], ...]
    has_arms: bool = False

    @property
    def numbers(self) -> tuple[tuple[str, ...], ...]:
        """The facts as a table; its first row is the header."""
        return (tuple(self.facts[0]), *(tuple(each.values()) for each in self.facts))


@dataclass(frozen=True, kw_only=True, slots=True)
class Absent:
    """A figure or table that is not available, and why."""

    title: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """A point of an arm's line; ``facts`` are its tooltip."""

    arm: str
    x: float | str
    y: float
    facts: dict[str, str]
    low: float = math.nan
    high: float = math.nan

    @property
    def row(self) -> dict[str, Any]:
        """The mark as a row of chart data."""
        row = {"arm": self.arm, "x": self.x, "y": known(self.y), "tip": tooltip(self.facts)}
        return row | {"low": known(self.low), "high": known(self.high)}


def tooltip(facts: dict[str, str]) -> str:
    """Return a tooltip: the first fact's value, then one fact per line."""
    title, *others = facts.items()
    return "\n".join([title[1], *(f"{name} {value}" for name, value in others if value)])


def distinct_first(names: Iterable[str], first: Collection[str]) -> list[str]:
    """Return names in style order: those in ``first`` get the most distinct styles."""
    return sorted(dict.fromkeys(names), key=lambda name: name not in first)


def chosen_arms(names: Sequence[str]) -> alt.Parameter:
    """Return the parameter ``arms``: the selected arms, by default all."""
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
    """Return a figure with a line for each arm and error bars for marks with bounds.

    ``x`` and ``y`` are the axes; their fields are ``x`` and ``y``.
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
