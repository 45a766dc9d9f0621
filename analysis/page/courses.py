"""What happens while the models are trained: prediction difference, and the learning curves."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from analysis.figures.progress import course_of
from analysis.page.elements import Absent, Chart, Numbers
from analysis.page.plot import axis, layout, line, looks_of, told
from analysis.results import SweepResults

_EXAMPLES = "examples trained on"


def difference(sweep: SweepResults, shown: Collection[str]) -> Chart | Absent:
    """Return relative PD between replicas against the number of examples trained on."""
    title = "Prediction difference through the stream"
    courses = [course for arm in sweep.arms if (course := course_of(arm)) is not None]
    if not courses:
        return Absent(
            title=title, reason="no arm has two finished replicas that kept predictions on the way"
        )
    look = looks_of([each.name for each in courses], shown)
    traces = [
        line(
            each.name,
            each.examples.tolist(),
            (100 * each.relative_pd).tolist(),
            look[each.name],
            hover=[
                told(each.name, f"relative PD {100 * pd:.1f} %", f"after {examples:,.0f} examples")
                for examples, pd in zip(each.examples, each.relative_pd, strict=True)
            ],
        )
        for each in courses
    ]
    return Chart(
        identifier="pd-progress",
        title=title,
        text="Of the evaluation examples that were looked at on the way, a part of all.",
        traces=tuple(traces),
        layout=layout(
            axis(_EXAMPLES, tickformat=",d"),
            axis("relative prediction difference, %", rangemode="tozero"),
        ),
        numbers=Numbers(
            headings=("arm", _EXAMPLES, "relative PD, %"),
            rows=tuple(
                (each.name, f"{examples:,.0f}", f"{100 * pd:.2f}")
                for each in courses
                for examples, pd in zip(each.examples, each.relative_pd, strict=True)
            ),
        ),
    )


def learning(sweep: SweepResults, shown: Collection[str]) -> tuple[Chart | Absent, ...]:
    """Return log loss against the number of examples, on held-out examples and on those to come."""
    return (
        _losses(
            sweep,
            shown,
            "eval_log_loss",
            "Learning curves: held-out examples",
            "Log loss of the evaluation examples looked at on the way, the mean over replicas.",
        ),
        _losses(
            sweep,
            shown,
            "progressive_log_loss",
            "Learning curves: progressive validation",
            "Log loss of each batch before it was trained on, the mean over replicas since the"
            " point before.",
        ),
    )


def _losses(
    sweep: SweepResults, shown: Collection[str], column: str, title: str, text: str
) -> Chart | Absent:
    found = {arm.name: arm.read_learning() for arm in sweep.arms if arm.done}
    curves = {name: table for name, table in found.items() if len(table)}
    if not curves:
        return Absent(title=title, reason="no finished trial kept its progress")
    look = looks_of(curves, shown)
    traces = [
        line(
            name,
            table["examples"].tolist(),
            table[column].tolist(),
            look[name],
            hover=[
                told(name, f"log loss {loss:.4f}", f"after {examples:,.0f} examples")
                for examples, loss in zip(table["examples"], table[column], strict=True)
            ],
        )
        for name, table in curves.items()
    ]
    return Chart(
        identifier=column.replace("_", "-"),
        title=title,
        text=text,
        traces=tuple(traces),
        layout=layout(axis(_EXAMPLES, tickformat=",d"), axis("log loss, nats")),
        numbers=Numbers(
            headings=("arm", _EXAMPLES, "log loss, nats"),
            rows=tuple(
                (name, f"{examples:,.0f}", "NaN" if np.isnan(loss) else f"{loss:.4f}")
                for name, table in curves.items()
                for examples, loss in zip(table["examples"], table[column], strict=True)
            ),
        ),
    )
