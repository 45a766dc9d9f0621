"""Prediction difference against what it costs: in ranking loss, and in embedding lookups."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter
from numpy.typing import NDArray

from analysis.figures.labels import Label, place_labels
from analysis.figures.style import GREY, PALE, Look, blank, looks
from analysis.intervals import Interval, undefined
from analysis.summary import ArmSummary, Summary

Floats = NDArray[np.float64]

#: How far to either side points of one cost are spread, as a factor.
LANE = 1.25
#: A label may rather cover so many places along an error bar than a point.
POINT_WEIGHT = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """An arm in the plane; ``x`` has no bounds where it was counted and not measured."""

    arm: ArmSummary
    x: Interval
    y: Interval


def accuracy_plane(summary: Summary) -> Figure | None:
    """Draw relative PD against the change of ranking loss from the baseline, both in percent.

    Arms that differ in their activation's beta alone are joined; the grey steps are the Pareto
    front. Where no group has both labels the change of the log loss takes its place. None where
    fewer than two arms have both.
    """
    points, name = accuracy_points(summary)
    return _plane(summary, points, name, title="Prediction difference and accuracy")


def lookups_plane(summary: Summary) -> Figure | None:
    """Draw relative PD against the embedding rows read to serve one example.

    None where fewer than two arms have both.
    """
    return _plane(
        summary,
        lookup_points(summary),
        "embedding rows read to serve one example (arms of one cost are set side by side)",
        title="Prediction difference and cost of serving",
        logarithmic=True,
    )


def accuracy_points(summary: Summary) -> tuple[list[Point], str]:
    """Return the arms in the accuracy plane, and the name of its horizontal axis."""
    ranked = not math.isnan(summary.arms[0].versus_baseline.ranking_loss.interval.value)
    points = [
        Point(
            arm=each,
            x=_change(each.versus_baseline.ranking_loss.interval)
            if ranked
            else each.versus_baseline.log_loss.interval,
            y=in_percent(each.measured.relative_pd),
        )
        for each in summary.arms
    ]
    name = "ranking loss (1 − GAUC), change in %" if ranked else "log loss, difference in nats"
    return _known(points), f"{name}, from {summary.sweep.baseline.name}"


def lookup_points(summary: Summary) -> list[Point]:
    """Return the arms with the embedding rows that they read to serve one example."""
    points = [
        Point(
            arm=each, x=_exact(each.counted.serve_lookups), y=in_percent(each.measured.relative_pd)
        )
        for each in summary.arms
    ]
    return _known(points)


def _known(points: Sequence[Point]) -> list[Point]:
    return [each for each in points if not math.isnan(each.x.value + each.y.value)]


def _plane(
    summary: Summary,
    points: Sequence[Point],
    horizontal: str,
    *,
    title: str,
    logarithmic: bool = False,
) -> Figure | None:
    if len(points) < 2:
        return None
    figure, axes = blank(7.2, 5.0)
    look = looks([kind(each.arm) for each in points])
    front = front_of(points)
    if logarithmic:
        _scale_by_lookups(axes, points)
        points = side_by_side(points)
    _draw_front(axes, [each for each in points if each.arm.arm.name in front])
    curves = [] if logarithmic else _draw_families(axes, points)
    for point in points:
        _draw_point(axes, point, look[kind(point.arm)], is_baseline=_is_baseline(point, summary))
    axes.set_xlabel(horizontal)
    axes.set_ylabel("relative prediction difference, %")
    axes.set_title(title)
    axes.margins(x=0.16, y=0.12)
    axes.set_ylim(bottom=0)
    _legend(axes, look)
    marks = np.concatenate([*(_marks(axes, each) for each in points), *curves])
    place_labels(axes, [_label(each) for each in points], marks)
    return figure


def pareto_front(x: Floats, y: Floats) -> NDArray[np.int64]:
    """Return the points that no other betters in both, by rising x; less is better.

    Of equal points the first is kept.
    """
    order = np.lexsort((y, x))
    best = np.minimum.accumulate(y[order])
    ahead = np.concatenate([[True], y[order][1:] < best[:-1]])
    return np.asarray(order[ahead], np.int64)


def front_of(points: Sequence[Point]) -> set[str]:
    """Return the names of the arms that no other betters in both."""
    x = np.array([each.x.value for each in points])
    y = np.array([each.y.value for each in points])
    return {points[index].arm.arm.name for index in pareto_front(x, y)}


def _draw_front(axes: Axes, points: Sequence[Point]) -> None:
    ordered = sorted(points, key=lambda point: point.x.value)
    x, y = [each.x.value for each in ordered], [each.y.value for each in ordered]
    axes.step(x, y, where="post", color=PALE, linewidth=4, zorder=1, label="Pareto front")


def _draw_families(axes: Axes, points: Sequence[Point]) -> list[Floats]:
    """Join single models of one activation by rising beta; return points along the lines."""
    families: dict[str, list[Point]] = {}
    for point in points:
        arm = point.arm.arm
        if arm.kind == "single" and not math.isnan(arm.beta):
            families.setdefault(arm.activation, []).append(point)
    joined = {name: each for name, each in families.items() if len(each) > 1}
    drawn = []
    for name, look in looks(list(joined)).items():
        members = sorted(joined[name], key=lambda point: point.arm.arm.beta)
        x = np.array([each.x.value for each in members])
        y = np.array([each.y.value for each in members])
        axes.plot(
            x,
            y,
            color=look.colour,
            linestyle=look.dash,
            linewidth=1.1,
            zorder=2,
            label=f"{name}, by β",
        )
        along = np.linspace(0, len(x) - 1, 12 * len(x))
        steps = np.arange(len(x))
        drawn.append(np.column_stack([np.interp(along, steps, x), np.interp(along, steps, y)]))
    return drawn


def _draw_point(axes: Axes, point: Point, look: Look, *, is_baseline: bool) -> None:
    axes.errorbar(
        point.x.value,
        point.y.value,
        xerr=_errors(point.x),
        yerr=_errors(point.y),
        fmt=look.marker,
        color=look.colour,
        markerfacecolor="white" if is_baseline else look.colour,
        markeredgewidth=1.4,
        ecolor=look.colour,
        elinewidth=0.6,
        alpha=0.85,
        zorder=4,
    )


def _errors(interval: Interval) -> list[list[float]] | None:
    if math.isnan(interval.low):
        return None
    return [[interval.value - interval.low], [interval.high - interval.value]]


def _marks(axes: Axes, point: Point) -> Floats:
    """Return data points along a point's error bars, which labels should not cover."""
    x, y = point.x.value, point.y.value
    parts = [np.array([[x, y]] * POINT_WEIGHT)]
    if not math.isnan(point.x.low):
        across = np.linspace(point.x.low, point.x.high, 15)
        parts.append(np.column_stack([across, np.full(15, y)]))
    if not math.isnan(point.y.low):
        up = np.linspace(point.y.low, point.y.high, 15)
        parts.append(np.column_stack([np.full(15, x), up]))
    return np.concatenate(parts)


def side_by_side(points: Sequence[Point]) -> list[Point]:
    """Spread points of equal cost about it by rising PD, so that their bars can be told apart."""
    spread = []
    for cost in sorted({each.x.value for each in points}):
        same = sorted((each for each in points if each.x.value == cost), key=lambda p: p.y.value)
        steps = np.linspace(-1, 1, len(same)) if len(same) > 1 else np.zeros(1)
        spread += [
            replace(each, x=_exact(cost * LANE ** float(step)))
            for each, step in zip(same, steps, strict=True)
        ]
    return spread


def _scale_by_lookups(axes: Axes, points: Sequence[Point]) -> None:
    values = sorted({each.x.value for each in points})
    axes.set_xscale("log", base=2)
    axes.set_xlim(values[0] / 2.2, values[-1] * 2.2)
    axes.xaxis.set_major_locator(FixedLocator(values))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(ScalarFormatter())


def _legend(axes: Axes, look: dict[str, Look]) -> None:
    for name, each in look.items():
        axes.plot([], [], each.marker, color=each.colour, label=name)
    axes.plot([], [], "o", markerfacecolor="white", color=GREY, label="baseline (hollow)")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _label(point: Point) -> Label:
    return Label(text=point.arm.arm.name, x=point.x.value, y=point.y.value)


def _is_baseline(point: Point, summary: Summary) -> bool:
    return point.arm.arm is summary.sweep.baseline


def kind(summary: ArmSummary) -> str:
    """Return what arms share that are drawn alike."""
    return summary.arm.kind.replace("_", "-")


def _change(ratio: Interval) -> Interval:
    """Return a ratio as the change in percent."""
    return _mapped(ratio, lambda value: 100.0 * (value - 1.0))


def in_percent(share: Interval) -> Interval:
    """Return a share in percent."""
    return _mapped(share, lambda value: 100.0 * value)


def _mapped(interval: Interval, unit: Callable[[float], float]) -> Interval:
    low, high = unit(interval.low), unit(interval.high)
    return replace(interval, value=unit(interval.value), low=low, high=high)


def _exact(value: float) -> Interval:
    return undefined("counted, not measured", replicas=0, value=value)
