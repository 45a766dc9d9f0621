"""Whether predicted probabilities come true: one small panel an arm."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.figures.style import COLOURS, GREY, PALE
from analysis.results import Predictions, SweepResults

Floats = NDArray[np.float64]

BINS = 10
COLUMNS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Reliability:
    """Mean prediction and share of positives of each tenth of the examples, ``(M, B)`` each."""

    predicted: Floats
    observed: Floats


def calibration(sweep: SweepResults) -> Figure | None:
    """Draw the share of positives against the mean prediction, examples cut by rising prediction.

    A line a replica; the baseline's mean is drawn pale in every panel. None where no trial is
    finished.
    """
    arms = [arm for arm in sweep.arms if arm.done]
    if not arms:
        return None
    found = {arm.name: reliability(arm.read_predictions()) for arm in arms}
    columns = min(COLUMNS, len(arms))
    rows = math.ceil(len(arms) / columns)
    figure = Figure(figsize=(1.9 * columns + 0.4, 1.9 * rows + 0.5), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    top = 1.05 * max(max(each.predicted.max(), each.observed.max()) for each in found.values())
    for arm, axes in zip(arms, panels.flat, strict=False):
        _draw(axes, arm.name, found[arm.name], found.get(sweep.baseline.name), top)
    for axes in panels.flat[len(arms) :]:
        axes.set_visible(False)
    figure.supxlabel("mean prediction of a tenth of the examples", fontsize=9)
    figure.supylabel("share of positives", fontsize=9)
    title = "Calibration: a line each replica; broad and pale, the baseline's mean"
    figure.suptitle(title, x=0.02, ha="left", fontsize=10)
    return figure


def reliability(predictions: Predictions) -> Reliability:
    """Cut each replica's examples into ten of equal size by rising prediction."""
    predicted, observed = [], []
    for model in predictions.probabilities:
        order = np.array_split(np.argsort(model, kind="stable"), min(BINS, len(model)))
        predicted.append([model[rows].mean() for rows in order])
        observed.append([predictions.labels[rows].mean() for rows in order])
    return Reliability(predicted=np.array(predicted), observed=np.array(observed))


def _draw(
    axes: Axes, name: str, found: Reliability, baseline: Reliability | None, top: float
) -> None:
    axes.plot([0, top], [0, top], color=GREY, linewidth=0.7, linestyle=":")
    if baseline is not None:
        axes.plot(
            baseline.predicted.mean(axis=0), baseline.observed.mean(axis=0), color=PALE, linewidth=4
        )
    for predicted, observed in zip(found.predicted, found.observed, strict=True):
        axes.plot(predicted, observed, color=COLOURS[1], linewidth=0.8, marker=".", markersize=3)
    axes.set_title(name, fontsize=7.5)
    axes.set_aspect("equal")
    axes.set_xlim(0, top)
    axes.set_ylim(0, top)
    axes.tick_params(labelsize=7)
