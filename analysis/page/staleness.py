"""How stale the parameters were that asynchronous workers trained with."""

from __future__ import annotations

from collections.abc import Collection

from analysis.page.elements import Absent, Chart, Numbers
from analysis.page.plot import axis, layout, line, looks_of, told
from analysis.results import SweepResults


def staleness(sweep: SweepResults, shown: Collection[str]) -> Chart | Absent:
    """Return the share of pushes by the updates that others made between pull and push."""
    title = "Staleness"
    found = {arm.name: histogram for arm in sweep.arms if (histogram := arm.read_staleness())}
    if not found:
        return Absent(
            title=title,
            reason="no arm was trained by an asynchronous engine, the only ones in which parameters"
            " can be stale",
        )
    look = looks_of(found, shown)
    traces, rows = [], []
    for name, histogram in found.items():
        pushes = sum(histogram.values())
        shares = [100 * count / pushes for count in histogram.values()]
        mean = sum(updates * count for updates, count in histogram.items()) / pushes
        traces.append(
            line(
                name,
                list(histogram),
                shares,
                look[name],
                hover=[
                    told(name, f"{updates} updates by others", f"{share:.2f} % of the pushes")
                    for updates, share in zip(histogram, shares, strict=True)
                ],
            )
        )
        rows.append((name, f"{pushes:,}", f"{mean:.2f}", str(max(histogram))))
    return Chart(
        identifier="staleness",
        title=title,
        text="Updates that other workers made between a worker's pull of the parameters and its"
        " push, over all replicas.",
        traces=tuple(traces),
        layout=layout(
            axis("updates by others between pull and push", rangemode="tozero"),
            axis("share of the pushes, %", rangemode="tozero"),
        ),
        numbers=Numbers(headings=("arm", "pushes", "mean staleness", "largest"), rows=tuple(rows)),
    )
