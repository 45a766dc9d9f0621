"""The two pictures of the bargain: prediction difference against accuracy, and against lookups."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from analysis.figures.plane import (
    Point,
    accuracy_points,
    front_of,
    kind,
    lookup_points,
    side_by_side,
)
from analysis.figures.style import Look, looks
from analysis.page.elements import Absent, Chart, Numbers, Spec
from analysis.page.plot import axis, colour_of, errors, layout, plain, symbol_of, told
from analysis.presentation import bracketed, percent, plus_minus
from analysis.summary import Summary

_PD = "relative prediction difference, %"


def accuracy(summary: Summary, shown: Collection[str]) -> Chart | Absent:
    """Return relative PD against the change of ranking loss, or of log loss; names ``shown``."""
    points, name = accuracy_points(summary)
    title = "Prediction difference and accuracy"
    if len(points) < 2:
        return Absent(title=title, reason="fewer than two arms have two finished replicas")
    x = axis(name, zeroline=True, zerolinecolor="@muted")
    return Chart(
        identifier="pd-accuracy",
        title=title,
        text="Each mark is an arm with its 95 % intervals; further down its replicas agree more,"
        " further left it ranks better. The broad steps are the Pareto front: no other arm betters"
        " these in both. The baseline's mark is hollow.",
        traces=(_steps(points), *_marks(points, summary)),
        layout=layout(x, axis(_PD, rangemode="tozero"), annotations=_names(points, shown)),
        numbers=Numbers(
            headings=("arm", "relative PD, %", name, "on the front"),
            rows=tuple(
                (each.arm.arm.name, bracketed(each.y), bracketed(each.x), _on_front(each, points))
                for each in points
            ),
        ),
    )


def lookups(summary: Summary, shown: Collection[str]) -> Chart | Absent:
    """Return relative PD against the embedding rows read to serve one example."""
    points = lookup_points(summary)
    title = "Prediction difference and lookups"
    if len(points) < 2:
        return Absent(title=title, reason="fewer than two arms have two finished replicas")
    values = sorted({each.x.value for each in points})
    spread = side_by_side(points)
    x = axis(
        "embedding rows read to serve one example",
        type="log",
        tickmode="array",
        tickvals=values,
        ticktext=[f"{each:.4g}" for each in values],
    )
    return Chart(
        identifier="pd-lookups",
        title=title,
        text="What a served prediction costs in embedding lookups, which are counted and have no"
        " interval. Arms of one cost are set side by side.",
        traces=_marks(spread, summary),
        layout=layout(
            x,
            axis(_PD, rangemode="tozero"),
            annotations=_names(spread, shown, logarithmic=True),
        ),
        numbers=Numbers(
            headings=("arm", "relative PD, %", "lookups to serve", "on the front"),
            rows=tuple(
                (
                    each.arm.arm.name,
                    bracketed(each.y),
                    f"{each.x.value:.4g}",
                    _on_front(each, points),
                )
                for each in points
            ),
        ),
    )


def _marks(points: Sequence[Point], summary: Summary) -> tuple[Spec, ...]:
    """Return a trace for each kind of arm, and one for the baseline."""
    look = looks([kind(each) for each in summary.arms])
    traces = []
    for name, each in look.items():
        members = [point for point in points if kind(point.arm) == name]
        baseline = [point for point in members if point.arm.arm is summary.sweep.baseline]
        others = [point for point in members if point not in baseline]
        if others:
            traces.append(_trace(name, others, each, fill=colour_of(each)))
        if baseline:
            traces.append(_trace("baseline", baseline, each, fill="@panel"))
    return tuple(traces)


def _trace(name: str, points: Sequence[Point], look: Look, *, fill: str) -> Spec:
    colour = colour_of(look)
    return {
        "type": "scatter",
        "mode": "markers",
        "name": plain(name),
        "x": [point.x.value for point in points],
        "y": [point.y.value for point in points],
        "error_x": errors([point.x for point in points], colour),
        "error_y": errors([point.y for point in points], colour),
        "marker": {
            "symbol": symbol_of(look),
            "size": 11,
            "color": fill,
            "line": {"color": colour, "width": 2},
        },
        "text": [_told(point) for point in points],
        "hovertemplate": "%{text}<extra></extra>",
    }


def _names(
    points: Sequence[Point], shown: Collection[str], *, logarithmic: bool = False
) -> list[Spec]:
    """Return the names of the arms ``shown``, each with a line to its mark."""
    named = sorted((each for each in points if each.arm.arm.name in shown), key=lambda p: p.y.value)
    return [
        {
            "text": plain(point.arm.arm.name),
            "x": math.log10(point.x.value) if logarithmic else point.x.value,
            "y": point.y.value,
            **_place(lowest=point is named[0], highest=point is named[-1]),
            "arrowcolor": "@muted",
            "arrowwidth": 1,
            "arrowhead": 0,
            "standoff": 7,
            "bgcolor": "@panel",
            "font": {"color": "@ink", "size": 12},
        }
        for point in named
    ]


def _place(*, lowest: bool, highest: bool) -> Spec:
    """Return where a name stands, in pixels from its mark: most room is outside of all marks."""
    if highest:
        return {"ax": 40, "ay": -30}
    return {"ax": -34, "ay": 40} if lowest else {"ax": 48, "ay": 36}


def _steps(points: Sequence[Point]) -> Spec:
    front = front_of(points)
    ordered = sorted(
        (each for each in points if each.arm.arm.name in front), key=lambda each: each.x.value
    )
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "Pareto front",
        "x": [each.x.value for each in ordered],
        "y": [each.y.value for each in ordered],
        "line": {"shape": "hv", "color": "@muted", "width": 7},
        "opacity": 0.4,
        "hoverinfo": "skip",
    }


def _on_front(point: Point, points: Sequence[Point]) -> str:
    return "yes" if point.arm.arm.name in front_of(points) else ""


def _told(point: Point) -> str:
    measured, counted = point.arm.measured, point.arm.counted
    return told(
        point.arm.arm.name,
        f"relative PD {percent(measured.relative_pd)}",
        f"log loss {plus_minus(measured.log_loss)}",
        f"ranking loss {plus_minus(measured.ranking_loss, 3)}",
        f"lookups {counted.train_lookups:.1f} to train, {counted.serve_lookups:.1f} to serve",
        f"{len(point.arm.arm.done)} replicas",
    )
