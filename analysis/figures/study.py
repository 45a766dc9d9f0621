"""The figure of a study: relative PD against the varied field, a line for each series."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import altair as alt

from analysis.figures.figure import Absent, Figure
from analysis.figures.render import HEIGHT, WIDTH, by_series, known
from analysis.results.reading import SweepResults
from analysis.results.study import MeasuredPoint, Study, measure_study, reading, shown, table
from analysis.results.tables import percent

#: From such a ratio of its ends on, an axis is logarithmic.
LOGARITHMIC = 8.0
#: Points at one place are set side by side, so many pixels apart: their intervals would overlap.
APART = 5.0
Place = Any
"""A number or a name"""
_PD = alt.Y("value:Q", title="relative prediction difference, %", scale=alt.Scale(zero=True))


def study_figures(sweep: SweepResults) -> tuple[Figure | Absent, ...]:
    """Return the figure of a sweep's study with conclusion and table; empty without a study.

    Raises:
        ResultsError: a file is invalid.
    """
    study = measure_study(sweep)
    if study is None:
        return ()
    title, chart = study.design.question, study_chart(study)
    if chart is None:
        return (Absent(title=title, reason="no arm with a value of the study's x has results yet"),)
    headings, *rows = table(study)
    facts = tuple(dict(zip(headings, row, strict=True)) for row in rows)
    text = " ".join(reading(study))
    return (Figure(name="study", title=title, text=text, chart=chart, facts=facts),)


def study_chart(study: Study) -> alt.TopLevelMixin | None:
    """Draw points with 95 % intervals; the reference and arms without x are horizontal lines.

    None if no point was measured.
    """
    points = [each for each in study.points if not math.isnan(each.relative_pd.value)]
    placed = [each for each in points if each.point.x is not None]
    if not placed:
        return None
    reference = [each for each in points if each.point.arm == study.design.reference]
    levels = [each for each in points if each.point.x is None and each not in reference]
    places = list(dict.fromkeys(each.point.x for each in placed))
    x, moved = _axis(study.design.x, places)
    data = []
    for place in places:
        together = [each for each in placed if each.point.x == place]
        for number, row in enumerate(_rows(together)):
            share = APART * (number - (len(together) - 1) / 2) / WIDTH
            data.append(row | {"x": moved(place, share)})
    series = list(dict.fromkeys(each.point.series for each in [*placed, *levels]))
    look = by_series("series", series, legend=alt.Legend(title=None) if any(series) else None)
    rows = alt.Chart(alt.Data(values=data)).encode(x=x, color=look["color"])
    across = alt.Chart(alt.Data(values=_rows(levels)))
    level = alt.Chart(alt.Data(values=_rows(reference))).encode(y="value:Q")
    layers: list[Any] = [
        rows.mark_rule().encode(y="low:Q", y2="high:Q"),
        rows.mark_point().encode(y=_PD, shape=look["shape"], tooltip="tip:N"),
        across.mark_rule().encode(y="value:Q", color=look["color"], strokeDash=look["strokeDash"]),
        level.mark_rule(style="muted", strokeDash=[6, 3]),
        level.mark_text(style="label", align="right", dx=-4, dy=-6).encode(
            x=alt.value("width"), text="arm:N"
        ),
    ]
    # Names alone have no order along which a line could lead.
    if any(isinstance(place, float) for place in places):
        layers.append(rows.mark_line().encode(y=_PD, strokeDash=look["strokeDash"]))
    chart: alt.TopLevelMixin = alt.layer(*layers).properties(width=WIDTH, height=HEIGHT)
    return chart


def _axis(field: str, places: Sequence[Place]) -> tuple[alt.X, Callable[[Place, float], float]]:
    """Return the axis, and a function that shifts a position by a share of its length.

    If a position is a name, positions are evenly spaced in the order of the arms.
    """
    numbers = sorted(each for each in places if isinstance(each, float))
    if len(numbers) < len(places):
        names = [shown(each) for each in places]
        axis = alt.Axis(
            values=list(range(len(names))),
            labelExpr=f"{json.dumps(names)}[datum.value]",
            labelAngle=-30,
            labelOverlap=False,
            labelLimit=160,
            grid=False,
        )
        scale = alt.Scale(zero=False, nice=False, padding=24)
        x = alt.X("x:Q", title=field, scale=scale, axis=axis)
        return x, lambda place, share: places.index(place) + share * len(places)
    is_log = numbers[0] > 0 and numbers[-1] / numbers[0] >= LOGARITHMIC
    scale = alt.Scale(type="log" if is_log else "linear", zero=False, nice=False, padding=24)
    axis = alt.Axis(values=numbers, format="~g", grid=False)
    x = alt.X("x:Q", title=field, scale=scale, axis=axis)
    if is_log:
        return x, lambda place, share: place * (numbers[-1] / numbers[0]) ** share
    return x, lambda place, share: place + share * (numbers[-1] - numbers[0])


def _rows(points: Sequence[MeasuredPoint]) -> list[dict[str, Any]]:
    return [
        {
            "arm": each.point.arm,
            "series": each.point.series,
            "x": each.point.x,
            "value": known(100 * each.relative_pd.value),
            "low": known(100 * each.relative_pd.low),
            "high": known(100 * each.relative_pd.high),
            "tip": f"{each.point.arm}\nrelative PD {percent(each.relative_pd)}",
        }
        for each in points
    ]
