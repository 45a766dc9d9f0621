"""Whether predicted probabilities come true."""

from __future__ import annotations

from collections.abc import Collection

from analysis.figures.calibration import reliability
from analysis.page.elements import Absent, Chart, Numbers, Spec
from analysis.page.plot import axis, layout, line, looks_of, told
from analysis.results import SweepResults


def calibration(sweep: SweepResults, shown: Collection[str]) -> Chart | Absent:
    """Return the share of positives against the mean prediction, by tenths of the examples."""
    title = "Calibration"
    arms = [arm for arm in sweep.arms if arm.done]
    if not arms:
        return Absent(title=title, reason="no trial is finished")
    found = {}
    for arm in arms:
        each = reliability(arm.read_predictions())
        found[arm.name] = (each.predicted.mean(axis=0), each.observed.mean(axis=0))
    look = looks_of(found, shown)
    top = 1.05 * max(max(*predicted, *observed) for predicted, observed in found.values())
    traces: list[Spec] = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": "as promised",
            "x": [0, top],
            "y": [0, top],
            "line": {"color": "@muted", "dash": "dot", "width": 1},
            "hoverinfo": "skip",
        }
    ]
    traces += [
        line(
            name,
            predicted.tolist(),
            observed.tolist(),
            look[name],
            hover=[
                told(name, f"predicted {promised:.3f}", f"came true {came:.3f}")
                for promised, came in zip(predicted, observed, strict=True)
            ],
        )
        for name, (predicted, observed) in found.items()
    ]
    return Chart(
        identifier="calibration",
        title=title,
        text="Each replica's examples are cut into ten of equal size by rising prediction; the mean"
        " over replicas. On the dotted line what is promised comes true.",
        traces=tuple(traces),
        layout=layout(
            axis("mean prediction of a tenth of the examples", range=[0, top]),
            axis("share of positives", range=[0, top]),
        ),
        numbers=Numbers(
            headings=("arm", "tenth", "mean prediction", "share of positives"),
            rows=tuple(
                (name, str(number), f"{promised:.4f}", f"{came:.4f}")
                for name, curve in found.items()
                for number, (promised, came) in enumerate(zip(*curve, strict=True), 1)
            ),
        ),
    )
