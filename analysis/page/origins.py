"""Where prediction difference comes from: its sources, and the slices of examples that have it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from analysis.figures.plane import in_percent
from analysis.page.elements import Absent, Chart, Numbers
from analysis.page.plot import axis, errors, known, layout, line, looks_of, plain, told
from analysis.presentation import percent
from analysis.slices import Missing, Sliced
from analysis.summary import Summary

SOURCES = {
    "init": "initialisation",
    "shuffle": "order of the examples",
    "async": "asynchrony: the order in which updates are applied",
    "components": "which members of an ensemble differ",
    "arithmetic": "rounding alone",
}
_PD = "relative prediction difference, %"


def by_source(summary: Summary) -> Chart | Absent:
    """Return the baseline's relative PD where all that is varied varies, or one source alone."""
    title = "Prediction difference by source of irreproducibility"
    baseline = summary.sweep.baseline
    (base,) = (each for each in summary.arms if each.arm is baseline)
    together = " and ".join(summary.sweep.varied) or "nothing"
    rows = [(f"as in the table ({together})", base.measured.relative_pd)]
    rows += [(f"{each.source} alone", each.relative_pd) for each in summary.sources]
    measured = {each.source for each in summary.sources}
    if not measured:
        return Absent(
            title=title,
            reason=f"no source was measured alone; the experiment's field sources:"
            f" [{', '.join(SOURCES)}] names those to measure",
        )
    meanings = "; ".join(f"{name}: {SOURCES.get(name, name)}" for name in sorted(measured))
    others = [name for name in SOURCES if name not in measured]
    unmeasured = f" Not measured here: {', '.join(others)}." if others else ""
    return Chart(
        identifier="pd-source",
        title=title,
        text=f"{baseline.name}, trained again with one source varied and all others held fixed"
        f" ({meanings}).{unmeasured}",
        traces=(
            {
                "type": "scatter",
                "mode": "markers",
                "x": [known(100 * each.value) for _, each in rows],
                "y": [plain(name) for name, _ in rows],
                "error_x": errors([in_percent(each) for _, each in rows], "@1"),
                "marker": {"color": "@1", "size": 11, "symbol": "square"},
                "text": [told(name, f"relative PD {percent(each, 2)}") for name, each in rows],
                "hovertemplate": "%{text}<extra></extra>",
                "showlegend": False,
            },
        ),
        layout=layout(
            axis(_PD, rangemode="tozero"),
            axis("", autorange="reversed", type="category"),
            height=90 + 45 * len(rows),
        ),
        numbers=Numbers(
            headings=("varied", "relative PD", "why it is not known"),
            rows=tuple((name, percent(each, 2), each.reason) for name, each in rows),
        ),
    )


def by_slice(
    found: Sequence[Sliced | Missing], shown: Collection[str]
) -> tuple[Chart | Absent, ...]:
    """Return a chart of relative PD for each slicing of the examples."""
    return tuple(
        Absent(title=f"By {each.title}", reason=each.reason)
        if isinstance(each, Missing)
        else _slices(number, each, shown)
        for number, each in enumerate(found)
    )


def _slices(number: int, found: Sliced, shown: Collection[str]) -> Chart:
    labels = found.slicing.labels
    sizes = [int((found.slicing.part == part).sum()) for part in range(len(labels))]
    look = looks_of(found.relative_pd, shown)
    traces = []
    for name, intervals in found.relative_pd.items():
        percents = [in_percent(each) for each in intervals]
        trace = line(
            name,
            labels,
            [each.value for each in percents],
            look[name],
            hover=[
                told(name, f"relative PD {percent(each)}", f"{found.slicing.title}: {label}")
                for each, label in zip(intervals, labels, strict=True)
            ],
        )
        traces.append(trace | {"error_y": errors(percents, trace["line"]["color"])})
    return Chart(
        identifier=f"pd-slice-{number}",
        title=f"By {found.slicing.title}",
        text="95 % intervals; the same examples for every arm.",
        traces=tuple(traces),
        layout=layout(axis(found.slicing.title, type="category"), axis(_PD, rangemode="tozero")),
        numbers=Numbers(
            headings=(found.slicing.title, "examples", *found.relative_pd),
            rows=tuple(
                (label, f"{size:,}", *(percent(each[part]) for each in found.relative_pd.values()))
                for part, (label, size) in enumerate(zip(labels, sizes, strict=True))
            ),
        ),
    )
