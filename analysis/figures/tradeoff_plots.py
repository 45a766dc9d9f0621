"""Prediction difference against ranking loss, and against embedding lookups."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import altair as alt
import numpy as np
from numpy.typing import NDArray

from analysis.figures.figure import (
    CHOSEN,
    FONT_SIZE,
    LEADER_FROM,
    Absent,
    Figure,
    chosen_arms,
    in_percent,
    place_labels,
    tooltip,
)
from analysis.figures.render import HEIGHT, WIDTH, by_series, known
from analysis.results.summary import ArmSummary, Summary
from analysis.results.tables import bracketed, percent, plus_minus
from analysis.statistics.intervals import Interval, undefined

Floats = NDArray[np.float64]

#: How far to either side points of one cost are spread, as a factor.
SPREAD = 1.25
#: A label may rather cover so many places along an error bar than a point.
POINT_WEIGHT = 12
_TOO_FEW = "fewer than two arms have two finished replicas"


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """An arm in a plot; a counted ``x`` has no bounds."""

    arm: ArmSummary
    x: Interval
    y: Interval

    @property
    def name(self) -> str:
        """The arm's name."""
        return self.arm.arm.name


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """The horizontal axis of a plot; logarithmic if it has ``ticks``."""

    title: str
    low: float
    high: float
    ticks: tuple[float, ...] = ()

    @property
    def encoding(self) -> alt.X:
        """The axis for Altair."""
        scale: dict[str, Any] = {"domain": [self.low, self.high], "nice": False}
        if not self.ticks:
            return alt.X("x:Q", title=self.title, scale=alt.Scale(**scale))
        ticks = alt.Axis(values=list(self.ticks), format=".4~g")
        logarithmic = alt.Scale(type="log", base=2, **scale)
        return alt.X("x:Q", title=self.title, axis=ticks, scale=logarithmic)

    def pixels(self, values: Floats) -> Floats:
        """Return positions in a plot of ``WIDTH`` pixels."""
        ends = [self.low, self.high]
        if self.ticks:
            values, ends = np.log(values), [math.log(each) for each in ends]
        return np.asarray(np.interp(values, ends, [0, WIDTH]), np.float64)


def pd_accuracy(summary: Summary) -> Figure | Absent:
    """Return relative PD against the change in ranking loss from the baseline, in percent.

    Without groups that have both labels, the change in log loss is used.
    """
    title = "Prediction difference and accuracy"
    points = accuracy_points(summary)
    if len(points) < 2:
        return Absent(title=title, reason=_TOO_FEW)
    ends = [each for point in points for each in (point.x.low, point.x.high, point.x.value)]
    low, high = (end(filter(math.isfinite, ends)) for end in (min, max))
    margin = 0.06 * (high - low) or 1.0
    ranked = _is_ranked(summary)
    quantity = "change of ranking loss (1 − GAUC), %" if ranked else "difference of log loss, nats"
    return _plot(
        summary,
        points,
        points,
        Axis(title=quantity, low=low - margin, high=high + margin),
        name="pd_accuracy",
        title=title,
        text="Each mark is an arm with its 95 % intervals; further down its replicas agree more,"
        " further left it ranks better. The broad steps are the Pareto front: no other arm is "
        "better in both. Thin lines connect arms that differ only in β. Changes are from the"
        f" baseline {summary.sweep.baseline.name}, whose mark is hollow.",
    )


def pd_lookups(summary: Summary) -> Figure | Absent:
    """Return relative PD against the embedding rows read to serve one example."""
    title = "Prediction difference and cost of serving"
    points = _known(
        Point(
            arm=each, x=_exact(each.counted.serve_lookups), y=in_percent(each.measured.relative_pd)
        )
        for each in summary.arms
    )
    if len(points) < 2:
        return Absent(title=title, reason=_TOO_FEW)
    costs = tuple(sorted({each.x.value for each in points}))
    return _plot(
        summary,
        points,
        side_by_side(points),
        Axis(
            title="embedding rows read to serve one example",
            low=costs[0] / 2.2,
            high=costs[-1] * 2.2,
            ticks=costs,
        ),
        name="pd_lookups",
        title=title,
        text="What a served prediction costs in embedding lookups, which are counted and have no"
        " interval. Arms of equal cost are drawn next to each other. The baseline's mark is "
        "hollow.",
    )


def accuracy_points(summary: Summary) -> list[Point]:
    """Return the arms with their change in ranking loss, or in log loss."""
    return _known(
        Point(
            arm=each,
            x=_change(each.versus_baseline.ranking_loss.interval)
            if _is_ranked(summary)
            else each.versus_baseline.log_loss.interval,
            y=in_percent(each.measured.relative_pd),
        )
        for each in summary.arms
    )


def pareto_front(x: Floats, y: Floats) -> NDArray[np.int64]:
    """Return the Pareto-optimal points by rising x; lower is better in both.

    Of equal points the first is kept.
    """
    order = np.lexsort((y, x))
    best = np.minimum.accumulate(y[order])
    ahead = np.concatenate([[True], y[order][1:] < best[:-1]])
    return np.asarray(order[ahead], np.int64)


def front_of(points: Sequence[Point]) -> list[Point]:
    """Return the Pareto-optimal arms by rising x."""
    x = np.array([each.x.value for each in points])
    y = np.array([each.y.value for each in points])
    return [points[index] for index in pareto_front(x, y)]


def families(points: Sequence[Point]) -> list[list[Point]]:
    """Return the single models of each activation by rising beta, if there are several."""
    found: dict[str, list[Point]] = {}
    for point in points:
        arm = point.arm.arm
        if arm.kind == "single" and not math.isnan(arm.beta):
            found.setdefault(arm.activation, []).append(point)
    return [
        sorted(members, key=lambda point: point.arm.arm.beta)
        for members in found.values()
        if len(members) > 1
    ]


def side_by_side(points: Sequence[Point]) -> list[Point]:
    """Spread points of equal cost horizontally by rising PD, so their error bars do not overlap."""
    spread = []
    for cost in sorted({each.x.value for each in points}):
        same = sorted((each for each in points if each.x.value == cost), key=lambda p: p.y.value)
        steps = np.linspace(-1, 1, len(same)) if len(same) > 1 else np.zeros(1)
        spread += [
            replace(each, x=_exact(cost * SPREAD ** float(step)))
            for each, step in zip(same, steps, strict=True)
        ]
    return spread


def kind(summary: ArmSummary) -> str:
    """Return the style class of an arm."""
    return summary.arm.kind.replace("_", "-")


def _plot(
    summary: Summary,
    points: Sequence[Point],
    placed: Sequence[Point],
    axis: Axis,
    *,
    name: str,
    title: str,
    text: str,
) -> Figure:
    """Return a plot of relative PD; ``placed`` are ``points`` at their drawn positions."""
    front = front_of(points)
    facts = [
        _facts(each, axis, is_ahead=each.arm in [ahead.arm for ahead in front]) for each in placed
    ]
    rows = [
        _row(each, summary) | {"tip": tooltip(fact)}
        for each, fact in zip(placed, facts, strict=True)
    ]
    top = 1.08 * max(max(row["y"], row["y_high"] or 0.0) for row in rows)
    y_scale = alt.Scale(domain=[0, top], nice=False)
    x, y = axis.encoding, alt.Y("y:Q", title="relative prediction difference, %", scale=y_scale)
    look = by_series("kind", [kind(each) for each in summary.arms], legend=alt.Legend(title=None))
    hollow = {"stroke": alt.Stroke(**look["color"].to_dict()), "shape": look["shape"]}
    data = alt.Chart(alt.Data(values=rows)).encode(x=x, y=y)
    steps = _joined(front).mark_line(style="front", interpolate="step-after")
    joined = [_joined(each).mark_line(style="muted") for each in families(points)]
    layers = [
        *(
            ()
            if axis.ticks
            else (each.encode(x=x, y=y, order="step:Q") for each in [steps, *joined])
        ),
        data.mark_rule(opacity=0.5).encode(y="y_low:Q", y2="y_high:Q", color=look["color"]),
        data.mark_rule(opacity=0.5).encode(x="x_low:Q", x2="x_high:Q", color=look["color"]),
        data.transform_filter("!datum.baseline")
        .mark_point()
        .encode(color=look["color"], shape=look["shape"], tooltip="tip:N"),
        data.transform_filter("datum.baseline")
        .mark_point(style="hollow")
        .encode(**hollow, tooltip="tip:N"),
        *_labels(placed, axis, top),
    ]
    chart = alt.layer(*layers).add_params(chosen_arms([each.name for each in points]))
    return Figure(
        name=name,
        title=title,
        text=text,
        chart=chart.properties(width=WIDTH, height=HEIGHT, title=title),
        facts=tuple(facts),
        has_arms=True,
    )


def _joined(points: Sequence[Point]) -> alt.Chart:
    rows = [{"x": each.x.value, "y": each.y.value, "step": n} for n, each in enumerate(points)]
    return alt.Chart(alt.Data(values=rows))


def _row(point: Point, summary: Summary) -> dict[str, Any]:
    bounds = {
        f"{name}_{end}": known(getattr(interval, end))
        for name, interval in (("x", point.x), ("y", point.y))
        for end in ("low", "high")
    }
    return bounds | {
        "arm": point.name,
        "kind": kind(point.arm),
        "baseline": point.arm.arm is summary.sweep.baseline,
        "x": point.x.value,
        "y": point.y.value,
    }


def _labels(points: Sequence[Point], axis: Axis, top: float) -> list[alt.Chart]:
    """Return the layers with the names of the chosen arms."""

    def pixels(places: Floats) -> Floats:
        x, y = places.T
        return np.column_stack([axis.pixels(x), (1.0 - y / top) * HEIGHT])

    marks = np.concatenate([_marks(each) for each in points])
    anchors = pixels(np.array([(each.x.value, each.y.value) for each in points]))
    names = [each.name for each in points]
    offsets = place_labels(names, anchors, pixels(marks), np.array([WIDTH, HEIGHT]))
    rows = [
        {
            "arm": each.name,
            "x": each.x.value,
            "y": each.y.value,
            "dx": dx,
            "dy": dy,
            "far": math.hypot(dx, dy) > LEADER_FROM,
        }
        for each, (dx, dy) in zip(points, offsets.round(1).tolist(), strict=True)
    ]
    named = alt.Chart(alt.Data(values=rows)).encode(x="x:Q", y="y:Q").transform_filter(CHOSEN)
    dx, dy = alt.ExprRef("datum.dx"), alt.ExprRef("datum.dy")
    texts = [
        named.mark_text(style=style, fontSize=FONT_SIZE, xOffset=dx, yOffset=dy).encode(
            text="arm:N"
        )
        for style in ("halo", "label")
    ]
    leaders = named.transform_filter("datum.far").mark_rule(
        style="muted", opacity=0.6, x2Offset=dx, y2Offset=dy
    )
    return [leaders.encode(x2="x:Q", y2="y:Q"), *texts]


def _marks(point: Point) -> Floats:
    """Return positions on a point's mark and error bars that labels should not cover."""
    x, y = point.x.value, point.y.value
    parts = [np.array([[x, y]] * POINT_WEIGHT)]
    if math.isfinite(point.x.high - point.x.low):
        parts.append(np.column_stack([np.linspace(point.x.low, point.x.high, 15), np.full(15, y)]))
    if math.isfinite(point.y.high - point.y.low):
        parts.append(np.column_stack([np.full(15, x), np.linspace(point.y.low, point.y.high, 15)]))
    return np.concatenate(parts)


def _facts(point: Point, axis: Axis, *, is_ahead: bool) -> dict[str, str]:
    measured, counted = point.arm.measured, point.arm.counted
    facts = {
        "arm": point.name,
        "relative PD": percent(measured.relative_pd),
        "log loss": plus_minus(measured.log_loss),
        "ranking loss": plus_minus(measured.ranking_loss, 3),
        "lookups to train": f"{counted.train_lookups:.4g}",
        "lookups to serve": f"{counted.serve_lookups:.4g}",
        "replicas": str(len(point.arm.arm.done)),
        "on the Pareto front": "yes" if is_ahead else "",
    }
    return facts if axis.ticks else facts | {axis.title: bracketed(point.x)}


def _is_ranked(summary: Summary) -> bool:
    return not math.isnan(summary.arms[0].versus_baseline.ranking_loss.interval.value)


def _known(points: Iterable[Point]) -> list[Point]:
    return [each for each in points if math.isfinite(each.x.value + each.y.value)]


def _change(ratio: Interval) -> Interval:
    """Return a ratio as a change in percent."""
    value, low, high = (100.0 * (each - 1.0) for each in (ratio.value, ratio.low, ratio.high))
    return replace(ratio, value=value, low=low, high=high)


def _exact(value: float) -> Interval:
    return undefined("counted, not measured", replicas=0, value=value)
