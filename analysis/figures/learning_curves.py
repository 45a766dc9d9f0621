"""Curves during training: prediction difference, log loss and staleness."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import altair as alt
import numpy as np
from numpy.typing import NDArray

from analysis.figures.figure import Absent, Figure, Mark, line_figure
from analysis.prediction_difference import relative_pd
from analysis.results.reading import SweepResults, Trials

_EXAMPLES = "examples trained on"


@dataclass(frozen=True, kw_only=True, slots=True)
class PdCurve:
    """The relative PD of one arm by number of examples trained, ``(P,)`` each."""

    name: str
    examples: NDArray[np.float64]
    relative_pd: NDArray[np.float64]


def pd_curve(trials: Trials) -> PdCurve | None:
    """Return an arm's PD during training; None with fewer than two replicas."""
    points = trials.read_progress()
    if len(trials.done) < 2 or not points:
        return None
    return PdCurve(
        name=trials.name,
        examples=np.array(list(points), np.float64),
        relative_pd=np.array(
            [relative_pd(1.0 / (1.0 + np.exp(-logits))) for logits in points.values()]
        ),
    )


def pd_progress(sweep: SweepResults, first: Collection[str] = ()) -> Figure | Absent:
    """Return relative PD between replicas against the number of examples trained."""
    title = "Prediction difference during training"
    curves = [curve for arm in sweep.arms if (curve := pd_curve(arm)) is not None]
    if not curves:
        return Absent(
            title=title, reason="no arm has two finished replicas with predictions during training"
        )
    return line_figure(
        "pd_progress",
        title,
        "On the subset of evaluation examples that is predicted during training.",
        [
            Mark(
                arm=curve.name,
                x=examples,
                y=100 * pd,
                facts={
                    "arm": curve.name,
                    _EXAMPLES: f"{examples:,.0f}",
                    "relative PD": f"{100 * pd:.2f}%",
                },
            )
            for curve in curves
            for examples, pd in zip(curve.examples, curve.relative_pd, strict=True)
        ],
        x=_examples_axis(),
        y=alt.Y("y:Q", title="relative prediction difference, %"),
        first=first,
    )


def eval_log_loss(sweep: SweepResults, first: Collection[str] = ()) -> Figure | Absent:
    """Return the log loss of held-out examples against the number of examples trained."""
    return _log_loss(
        sweep,
        first,
        "eval_log_loss",
        "Learning curves: held-out examples",
        "Log loss of the evaluation examples predicted during training, the mean over replicas.",
    )


def progressive_log_loss(sweep: SweepResults, first: Collection[str] = ()) -> Figure | Absent:
    """Return the log loss of examples before training on them."""
    return _log_loss(
        sweep,
        first,
        "progressive_log_loss",
        "Learning curves: progressive validation",
        "Log loss of each batch before it was trained on, the mean over replicas since the"
        " previous point.",
    )


def staleness(sweep: SweepResults, first: Collection[str] = ()) -> Figure | Absent:
    """Return the share of pushes by staleness."""
    title = "Staleness"
    found = {arm.name: histogram for arm in sweep.arms if (histogram := arm.read_staleness())}
    if not found:
        return Absent(
            title=title,
            reason="no arm was trained by an asynchronous engine; other engines have no staleness",
        )
    marks = []
    for name, histogram in found.items():
        pushes = sum(histogram.values())
        mean = sum(updates * count for updates, count in histogram.items()) / pushes
        for updates, count in histogram.items():
            share = 100 * count / pushes
            facts = {
                "arm": name,
                "updates by others": str(updates),
                "share of the pushes": f"{share:.2f}%",
                "pushes": f"{count:,}",
                "mean staleness of the arm": f"{mean:.2f}",
            }
            marks.append(Mark(arm=name, x=updates, y=share, facts=facts))
    return line_figure(
        "staleness",
        title,
        "Updates that other workers made between a worker's pull of the parameters and its push,"
        " over all replicas.",
        marks,
        x=alt.X(
            "x:Q", title="updates by others between pull and push", axis=alt.Axis(tickMinStep=1)
        ),
        y=alt.Y("y:Q", title="share of the pushes, %"),
        first=first,
    )


def _log_loss(
    sweep: SweepResults, first: Collection[str], column: str, title: str, text: str
) -> Figure | Absent:
    found = {arm.name: arm.read_learning() for arm in sweep.arms if arm.done}
    marks = [
        Mark(
            arm=name,
            x=float(examples),
            y=float(loss),
            facts={"arm": name, _EXAMPLES: f"{examples:,.0f}", "log loss, nats": f"{loss:.4f}"},
        )
        for name, table in found.items()
        for examples, loss in zip(table["examples"], table[column], strict=True)
    ]
    if not marks:
        return Absent(title=title, reason="no finished trial has its progress")
    y = alt.Y("y:Q", title="log loss, nats", scale=alt.Scale(zero=False))
    return line_figure(column, title, text, marks, x=_examples_axis(), y=y, first=first)


def _examples_axis() -> alt.X:
    return alt.X("x:Q", title=_EXAMPLES, axis=alt.Axis(format=",d"), scale=alt.Scale(zero=False))
