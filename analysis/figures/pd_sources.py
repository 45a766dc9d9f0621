"""Prediction difference by source, and by slice of the examples."""

from __future__ import annotations

from collections.abc import Collection

import altair as alt

from analysis.figures.figure import Absent, Figure, Mark, in_percent, line_figure
from analysis.figures.render import WIDTH
from analysis.results.slices import Missing, Sliced
from analysis.results.summary import Summary
from analysis.results.tables import percent

SOURCES = {
    "init": "initialisation",
    "shuffle": "order of the examples",
    "async": "asynchrony: the order in which updates are applied",
    "components": "which members of an ensemble differ",
    "arithmetic": "floating-point order alone",
}
_PD = "relative prediction difference, %"


def by_source(summary: Summary) -> Figure | Absent:
    """Return the baseline's relative PD for all varied sources, and for single sources."""
    title = "Prediction difference by source of irreproducibility"
    measured = {each.source for each in summary.sources}
    if not measured:
        return Absent(
            title=title,
            reason=f"no single source was measured; the experiment's field sources:"
            f" [{', '.join(SOURCES)}] names those to measure",
        )
    baseline = summary.sweep.baseline
    (base,) = (each for each in summary.arms if each.arm is baseline)
    together = " and ".join(summary.sweep.varied) or "nothing"
    rows = [(f"as in the table ({together})", base.measured.relative_pd)]
    rows += [(f"{each.source} alone", each.relative_pd) for each in summary.sources]
    marks = [
        Mark(
            arm=name,
            x=name,
            y=shown.value,
            low=shown.low,
            high=shown.high,
            facts={
                "varied": name,
                "relative PD": percent(each, 2),
                "why it is not known": each.reason,
            },
        )
        for name, each in rows
        for shown in [in_percent(each)]
    ]
    names = alt.Y("x:N", title=None, sort=[name for name, _ in rows], axis=alt.Axis(labelLimit=240))
    marked = alt.Chart(alt.Data(values=[mark.row for mark in marks])).encode(y=names)
    bars = marked.mark_rule().encode(x=alt.X("low:Q", title=_PD), x2="high:Q")
    points = marked.mark_point(shape="square").encode(x="y:Q", tooltip="tip:N")
    meanings = "; ".join(f"{name}: {SOURCES.get(name, name)}" for name in sorted(measured))
    others = [name for name in SOURCES if name not in measured]
    unmeasured = f" Not measured here: {', '.join(others)}." if others else ""
    return Figure(
        name="pd_source",
        title=title,
        text=f"{baseline.name}, trained again with one source varied and all others fixed"
        f" ({meanings}).{unmeasured}",
        chart=(bars + points).properties(width=WIDTH, height=45 * len(rows), title=title),
        facts=tuple(mark.facts for mark in marks),
    )


def by_slice(number: int, found: Sliced | Missing, first: Collection[str] = ()) -> Figure | Absent:
    """Return relative PD by slice of the sweep's ``number``-th slicing."""
    if isinstance(found, Missing):
        return Absent(title=f"By {found.title}", reason=found.reason)
    slicing = found.slicing
    sizes = [int((slicing.part == part).sum()) for part in range(len(slicing.labels))]
    marks = [
        Mark(
            arm=name,
            x=label,
            y=shown.value,
            low=shown.low,
            high=shown.high,
            facts={
                "arm": name,
                slicing.title: label,
                "relative PD": percent(each),
                "examples": f"{size:,}",
            },
        )
        for name, intervals in found.relative_pd.items()
        for label, size, each in zip(slicing.labels, sizes, intervals, strict=True)
        for shown in [in_percent(each)]
    ]
    x = alt.X("x:N", title=slicing.title, sort=list(slicing.labels), axis=alt.Axis(labelAngle=-40))
    return line_figure(
        f"pd_slice_{number}",
        f"Prediction difference by {slicing.title}",
        "95 % intervals; the same examples for every arm.",
        marks,
        x=x,
        y=alt.Y("y:Q", title=_PD),
        first=first,
    )
