"""Prediction difference against what it costs: in ranking loss, and in embedding lookups."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import altair as alt
import numpy as np
from numpy.typing import NDArray

from analysis.figures.figure import CHOSEN, Absent, Figure, chosen_arms, in_percent, tooltip
from analysis.figures.labels import FONT_SIZE, LEADER_FROM, place_labels
from analysis.figures.render import HEIGHT, WIDTH, by_series, known
from analysis.intervals import Interval, undefined
from analysis.presentation import bracketed, percent, plus_minus
from analysis.summary import ArmSummary, Summary

Floats = NDArray[np.float64]

#: How far to either side points of one cost are spread, as a factor.
SPREAD = 1.25
#: A label may rather cover so many places along an error bar than a point.
POINT_WEIGHT = 12
_TOO_FEW = "fewer than two arms have two finished replicas"


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """An arm in a plot; ``x`` has no bounds where it was counted and not measured."""

    arm: ArmSummary
    x: Interval
    y: Interval

    @property
    def name(self) -> str:
        """The arm's name."""
        return self.arm.arm.name


@dataclass(frozen=True, kw_only=True, slots=True)
class Under:
    """A line through some points, drawn behind the marks."""

    points: Sequence[Point]
    style: str
    interpolate: Literal["linear", "step-after"] = "linear"

    @property
    def xy(self) -> Floats:
        """The points, ``(P, 2)``."""
        return np.array([(each.x.value, each.y.value) for each in self.points])

    def layer(self, x: alt.X, y: alt.Y) -> alt.Chart:
        """Return the line as a layer of a chart."""
        rows = [{"x": x, "y": y, "step": step} for step, (x, y) in enumerate(self.xy.tolist())]
        mark = alt.Chart(alt.Data(values=rows)).mark_line(
            style=self.style, interpolate=self.interpolate
        )
        return mark.encode(x=x, y=y, order="step:Q")


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """The horizontal axis of a plot; ``ticks`` empty: wherever they fit."""

    title: str
    low: float
    high: float
    logarithmic: bool = False
    ticks: tuple[float, ...] = ()

    @property
    def encoding(self) -> alt.X:
        """The axis for Altair."""
        scale: dict[str, Any] = {"type": "log", "base": 2} if self.logarithmic else {}
        axis = alt.Axis(values=list(self.ticks), format=".4~g") if self.ticks else alt.Axis()
        domain = [self.low, self.high]
        return alt.X(
            "x:Q", title=self.title, axis=axis, scale=alt.Scale(domain=domain, nice=False, **scale)
        )

    def pixels(self, values: Floats) -> Floats:
        """Return positions in a plot of ``WIDTH``."""
        at, low, high = (
            (np.log(each) if self.logarithmic else np.asarray(each))
            for each in (values, self.low, self.high)
        )
        return np.asarray((at - low) / (high - low) * WIDTH, np.float64)


def pd_accuracy(summary: Summary) -> Figure | Absent:
    """Return relative PD against the change of ranking loss from the baseline, both in percent.

    Where no group has both labels the change of the log loss takes its place.
    """
    points = accuracy_points(summary)
    ranked = _is_ranked(summary)
    quantity = "change of ranking loss (1 − GAUC), %" if ranked else "difference of log loss, nats"
    title = "Prediction difference and accuracy"
    if len(points) < 2:
        return Absent(title=title, reason=_TOO_FEW)
    ends = [each for point in points for each in (point.x.low, point.x.high, point.x.value)]
    low, high = float(np.nanmin(ends)), float(np.nanmax(ends))
    margin = 0.06 * (high - low) or 1.0
    front = front_of(points)
    return _plot(
        summary,
        points,
        name="pd_accuracy",
        title=title,
        text="Each mark is an arm with its 95 % intervals; further down its replicas agree more,"
        " further left it ranks better. The broad steps are the Pareto front: no other arm is"
        " better in both. Thin lines join arms that differ in β alone. The baseline's mark is"
        " hollow.",
        axis=Axis(title=quantity, low=low - margin, high=high + margin),
        front=front,
        under=[
            Under(points=front, style="front", interpolate="step-after"),
            *(Under(points=each, style="muted") for each in families(points)),
        ],
    )


def accuracy_points(summary: Summary) -> list[Point]:
    """Return the arms with what they change in ranking loss, or in log loss."""
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


def _is_ranked(summary: Summary) -> bool:
    return not math.isnan(summary.arms[0].versus_baseline.ranking_loss.interval.value)


def pd_lookups(summary: Summary) -> Figure | Absent:
    """Return relative PD against the embedding rows read to serve one example."""
    points = _known(
        Point(
            arm=each, x=_exact(each.counted.serve_lookups), y=in_percent(each.measured.relative_pd)
        )
        for each in summary.arms
    )
    title = "Prediction difference and cost of serving"
    if len(points) < 2:
        return Absent(title=title, reason=_TOO_FEW)
    costs = sorted({each.x.value for each in points})
    return _plot(
        summary,
        side_by_side(points),
        name="pd_lookups",
        title=title,
        text="What a served prediction costs in embedding lookups, which are counted and have no"
        " interval. Arms of equal cost are set side by side. The baseline's mark is hollow.",
        axis=Axis(
            title="embedding rows read to serve one example",
            low=costs[0] / 2.2,
            high=costs[-1] * 2.2,
            logarithmic=True,
            ticks=tuple(costs),
        ),
        front=front_of(points),
    )


def pareto_front(x: Floats, y: Floats) -> NDArray[np.int64]:
    """Return the points that no other betters in both, by rising x; less is better.

    Of equal points the first is kept.
    """
    order = np.lexsort((y, x))
    best = np.minimum.accumulate(y[order])
    ahead = np.concatenate([[True], y[order][1:] < best[:-1]])
    return np.asarray(order[ahead], np.int64)


def front_of(points: Sequence[Point]) -> list[Point]:
    """Return the arms that no other betters in both, by rising x."""
    x = np.array([each.x.value for each in points])
    y = np.array([each.y.value for each in points])
    return [points[index] for index in pareto_front(x, y)]


def families(points: Sequence[Point]) -> list[list[Point]]:
    """Return the single models of each activation by rising beta, where there are several."""
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
    """Spread points of equal cost about it by rising PD, so that their bars do not overlap."""
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
    """Return what arms share that are drawn alike."""
    return summary.arm.kind.replace("_", "-")


def _plot(
    summary: Summary,
    points: Sequence[Point],
    *,
    name: str,
    title: str,
    text: str,
    axis: Axis,
    front: Sequence[Point],
    under: Sequence[Under] = (),
) -> Figure:
    """Return a plot of relative PD against an axis; ``under`` are the lines behind the marks."""
    ahead = {each.name for each in front}
    facts = [_facts(each, axis, is_ahead=each.name in ahead) for each in points]
    rows = [
        _row(each, summary) | {"tip": tooltip(fact)}
        for each, fact in zip(points, facts, strict=True)
    ]
    top = 1.08 * max(max(row["y"], row["y_high"] or 0.0) for row in rows)
    y_scale = alt.Scale(domain=[0, top], nice=False)
    y = alt.Y("y:Q", title="relative prediction difference, %", scale=y_scale)
    look = by_series("kind", [kind(each) for each in summary.arms], legend=alt.Legend(title=None))
    hollow = {"stroke": alt.Stroke(**look["color"].to_dict()), "shape": look["shape"]}
    labels = _label_rows(points, axis, top)
    x = axis.encoding
    data = alt.Chart(alt.Data(values=rows)).encode(x=x, y=y)
    named = alt.Chart(alt.Data(values=labels)).encode(x="x:Q", y="y:Q").transform_filter(CHOSEN)
    at: dict[str, Any] = {"xOffset": alt.ExprRef("datum.dx"), "yOffset": alt.ExprRef("datum.dy")}
    end: dict[str, Any] = {"x2Offset": at["xOffset"], "y2Offset": at["yOffset"]}
    chart = alt.layer(
        *(each.layer(x, y) for each in under),
        data.mark_rule(opacity=0.5).encode(y="y_low:Q", y2="y_high:Q", color=look["color"]),
        data.mark_rule(opacity=0.5).encode(x="x_low:Q", x2="x_high:Q", color=look["color"]),
        data.transform_filter("!datum.baseline")
        .mark_point()
        .encode(color=look["color"], shape=look["shape"], tooltip="tip:N"),
        data.transform_filter("datum.baseline")
        .mark_point(style="hollow")
        .encode(**hollow, tooltip="tip:N"),
        named.transform_filter("datum.far")
        .mark_rule(style="muted", opacity=0.6, **end)
        .encode(x2="x:Q", y2="y:Q"),
        named.mark_text(style="halo", fontSize=FONT_SIZE, **at).encode(text="arm:N"),
        named.mark_text(style="label", fontSize=FONT_SIZE, **at).encode(text="arm:N"),
    ).add_params(chosen_arms([each.name for each in points]))
    return Figure(
        name=name,
        title=title,
        text=text,
        chart=chart.properties(width=WIDTH, height=HEIGHT, title=title),
        facts=tuple(facts),
        has_arms=True,
    )


def _row(point: Point, summary: Summary) -> dict[str, Any]:
    return {
        "arm": point.name,
        "kind": kind(point.arm),
        "baseline": point.arm.arm is summary.sweep.baseline,
        "x": point.x.value,
        "y": point.y.value,
        "x_low": known(point.x.low),
        "x_high": known(point.x.high),
        "y_low": known(point.y.low),
        "y_high": known(point.y.high),
    }


def _label_rows(points: Sequence[Point], axis: Axis, top: float) -> list[dict[str, Any]]:
    def pixels(places: Floats) -> Floats:
        x, y = places.T
        return np.column_stack([axis.pixels(x), (1.0 - y / top) * HEIGHT])

    marks = np.concatenate([_marks(each) for each in points])
    anchors = pixels(np.array([(each.x.value, each.y.value) for each in points]))
    offsets = place_labels(
        [each.name for each in points], anchors, pixels(marks), np.array([WIDTH, HEIGHT])
    )
    return [
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


def _marks(point: Point) -> Floats:
    """Return places along a point's error bars, and on its mark, which labels should not cover."""
    x, y = point.x.value, point.y.value
    parts = [np.array([[x, y]] * POINT_WEIGHT)]
    if not math.isnan(point.x.low):
        parts.append(np.column_stack([np.linspace(point.x.low, point.x.high, 15), np.full(15, y)]))
    if not math.isnan(point.y.low):
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
    return facts if axis.logarithmic else facts | {axis.title: bracketed(point.x)}


def _known(points: Iterable[Point]) -> list[Point]:
    return [each for each in points if not math.isnan(each.x.value + each.y.value)]


def _change(ratio: Interval) -> Interval:
    """Return a ratio as the change in percent."""
    value, low, high = (100.0 * (each - 1.0) for each in (ratio.value, ratio.low, ratio.high))
    return replace(ratio, value=value, low=low, high=high)


def _exact(value: float) -> Interval:
    return undefined("counted, not measured", replicas=0, value=value)
