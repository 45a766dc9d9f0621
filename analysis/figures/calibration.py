"""Reliability diagrams: predicted probability and observed rate, one panel for each arm."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import altair as alt
import numpy as np
from numpy.typing import NDArray

from analysis.figures.figure import CHOSEN, Absent, Figure, chosen_arms, distinct_first, tooltip
from analysis.results.reading import Predictions, SweepResults

Floats = NDArray[np.float64]

BINS = 10
COLUMNS = 4
PANEL = 150


@dataclass(frozen=True, kw_only=True, slots=True)
class Reliability:
    """Mean prediction and share of positives in each tenth of the examples, ``(M, B)`` each."""

    predicted: Floats
    observed: Floats


def reliability(predictions: Predictions) -> Reliability:
    """Partition each replica's examples into ten parts of equal size by prediction."""
    predicted, observed = [], []
    for model in predictions.probabilities:
        order = np.array_split(np.argsort(model, kind="stable"), min(BINS, len(model)))
        predicted.append([model[rows].mean() for rows in order])
        observed.append([predictions.labels[rows].mean() for rows in order])
    return Reliability(predicted=np.array(predicted), observed=np.array(observed))


def calibration(sweep: SweepResults, first: Collection[str] = ()) -> Figure | Absent:
    """Return the share of positives against the mean prediction, by tenths of the examples."""
    title = "Calibration"
    found = {arm.name: reliability(arm.read_predictions()) for arm in sweep.arms if arm.done}
    if not found:
        return Absent(title=title, reason="no trial is finished")
    found = {name: each for name, each in found.items() if np.isfinite(each.predicted).all()}
    if not found:
        return Absent(title=title, reason="every arm has a replica with NaN predictions")
    names = distinct_first(found, first)
    top = 1.05 * max(max(each.predicted.max(), each.observed.max()) for each in found.values())
    facts = [
        {
            "arm": name,
            "tenth": str(number),
            "mean prediction": f"{predicted:.4f}",
            "share of positives": f"{observed:.4f}",
        }
        for name in names
        for number, (predicted, observed) in enumerate(_mean(found[name]), 1)
    ]
    base = found.get(sweep.baseline.name)
    replicas = [
        {"arm": name, "line": line, "x": x, "y": y, "tip": tooltip(fact)}
        for name in names
        for line, (predicted, observed) in enumerate(
            zip(found[name].predicted, found[name].observed, strict=True)
        )
        for x, y, fact in zip(
            predicted.tolist(),
            observed.tolist(),
            (each for each in facts if each["arm"] == name),
            strict=True,
        )
    ]
    baseline = [
        {"arm": name, "line": -1, "x": x, "y": y}
        for name in names
        for x, y in (() if base is None else _mean(base))
    ]
    diagonal = [{"arm": name, "line": -2, "x": at, "y": at} for name in names for at in (0.0, top)]
    scale = alt.Scale(domain=[0, top], nice=False)
    chart = alt.Chart().encode(
        x=alt.X("x:Q", title="mean prediction", scale=scale, axis=alt.Axis(tickCount=4)),
        y=alt.Y("y:Q", title="share of positives", scale=scale),
    )
    curves = chart.transform_filter("datum.line >= 0")
    panel = alt.layer(
        chart.transform_filter("datum.line == -2").mark_line(style="muted", strokeDash=[2, 2]),
        chart.transform_filter("datum.line == -1").mark_line(style="front"),
        curves.mark_line(strokeWidth=1).encode(detail="line:N"),
        curves.mark_point(size=12).encode(tooltip="tip:N"),
        data=alt.Data(values=[*diagonal, *baseline, *replicas]),
    ).properties(width=PANEL, height=PANEL)
    return Figure(
        name="calibration",
        title=title,
        text="Each replica's examples are cut into ten of equal size by rising prediction; a line"
        " per replica. On the dotted diagonal predictions are calibrated. The broad line is the"
        " mean of the baseline's replicas.",
        chart=panel.facet(
            facet=alt.Facet("arm:N", title=None, sort=names), columns=COLUMNS, title=title
        )
        .transform_filter(CHOSEN)
        .add_params(chosen_arms(names)),
        facts=tuple(facts),
        has_arms=True,
    )


def _mean(found: Reliability) -> list[tuple[float, float]]:
    """Return the mean over replicas of prediction and share of positives in each tenth."""
    both = zip(found.predicted.mean(axis=0), found.observed.mean(axis=0), strict=True)
    return [(float(predicted), float(observed)) for predicted, observed in both]
