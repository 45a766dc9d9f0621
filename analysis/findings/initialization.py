"""Relative PD by source of irreproducibility."""

from __future__ import annotations

import math

from matplotlib.figure import Figure

from analysis import intervals
from analysis.figures.style import blank, looks
from analysis.findings.drawing import PD_LABEL, draw_series, pd_intervals
from analysis.findings.finding import Finding, Measured, Table, settled_above, settled_below
from analysis.findings.normalization import exponential
from analysis.findings.words import Verdicts, by_ratio, number, pd, ratio_cell
from analysis.intervals import Interval

TITLES = {"relu": "ReLU", "smelu": "SmeLU(1)", "ensemble": "ReLU ensemble of 3"}
SOURCES = {
    "arithmetic": "arithmetic alone",
    "components": "components alone",
    "init": "init alone",
    "shuffle": "shuffle alone",
    "both": "all together",
}


def find(found: Measured) -> Finding:
    """Split the PD of a single ReLU, a single SmeLU and an ensemble into its sources."""
    return Finding(
        title="Initialisation: where does the difference come from?",
        question=(
            "Is it the initial weights, the order of the examples, or mere rounding? "
            "*Arithmetic* permutes the examples inside each mini-batch, which leaves every "
            "gradient as it was but for the order of floating-point sums: the floor below which "
            "no two trainings on different machines agree. *Components* lets the second and third "
            "member of an ensemble start differently, the first alike. *All together* varies "
            "shuffle and init, and of the ensemble the components too."
        ),
        table=_table(found),
        figure=_draw(found),
        caption="Relative PD by source, 95 % intervals.",
        verdict=_lead(found),
        reading=tuple(_reading(found)),
    )


def beyond_independent(found: Measured, name: str) -> Interval:
    """Return PD of all together ÷ the root of the sum of the squared PDs of init and shuffle.

    1 where the two add up like independent errors of the logit; below where they share them.
    """
    together, first, second = (
        found[f"{name}_{source}"].relative_pd for source in ("both", "init", "shuffle")
    )
    square = first.mean**2 + second.mean**2
    logarithm = math.log(together.mean) - math.log(square) / 2
    parts = [
        (together, 1 / together.mean),
        (first, -first.mean / square),
        (second, -second.mean / square),
    ]
    return exponential(intervals.combination(logarithm, parts))


def _table(found: Measured) -> Table:
    rows = []
    for name, title in TITLES.items():
        shuffle = found[f"{name}_shuffle"].relative_pd
        for source, words in SOURCES.items():
            if f"{name}_{source}" in found.estimates:
                units = found[f"{name}_{source}"].relative_pd
                relative = "" if source == "shuffle" else ratio_cell(units, shuffle)
                rows.append((title, words, pd(units), relative, _beside_relu(found, name, source)))
    return Table(
        headings=("arm", "varied", "relative PD", "÷ shuffle alone", "÷ ReLU, same varied"),
        rows=tuple(rows),
    )


def _beside_relu(found: Measured, name: str, source: str) -> str:
    if name == "relu" or f"relu_{source}" not in found.estimates:
        return ""
    return ratio_cell(found[f"{name}_{source}"].relative_pd, found[f"relu_{source}"].relative_pd)


def _draw(found: Measured) -> Figure:
    figure, axes = blank(7.2, 3.6)
    look = looks(list(TITLES))
    for offset, (name, title) in zip((-0.16, 0.0, 0.16), TITLES.items(), strict=True):
        sources = [source for source in SOURCES if f"{name}_{source}" in found.estimates]
        x = [list(SOURCES).index(source) + offset for source in sources]
        arms = [found[f"{name}_{source}"] for source in sources]
        draw_series(axes, x, pd_intervals(arms), look[name], label=title, scale=100, joined=False)
    axes.set_xticks(range(len(SOURCES)), list(SOURCES.values()))
    axes.set_ylabel(PD_LABEL)
    axes.set_ylim(bottom=0)
    axes.legend()
    return figure


def _reading(found: Measured) -> list[str]:
    return [*(_single(found, name) for name in ("relu", "smelu")), _ensemble(found)]


def _single(found: Measured, name: str) -> str:
    arithmetic, init, shuffle, together = (
        found[f"{name}_{source}"].relative_pd
        for source in ("arithmetic", "init", "shuffle", "both")
    )
    factor = beyond_independent(found, name)
    if settled_below(factor, 1):
        adds = "less than independent errors would"
    elif settled_above(factor, 1):
        adds = "more than independent errors would"
    else:
        adds = "as independent errors would, as far as can be told"
    return (
        f"**{TITLES[name]}**: beside the shuffle alone, PD from the initialisation alone is "
        f"{by_ratio(init, shuffle)}, from rounding alone {by_ratio(arithmetic, shuffle)}, from "
        f"shuffle and initialisation {by_ratio(together, shuffle)}. The two add up {adds}: their "
        f"PD together over the root of the sum of squares is {number(factor, 2)}."
    )


def _ensemble(found: Measured) -> str:
    shuffle, components, init, together = (
        found[f"ensemble_{source}"].relative_pd
        for source in ("shuffle", "components", "init", "both")
    )
    return (
        f"**{TITLES['ensemble']}**: beside the shuffle alone, PD from the components alone is "
        f"{by_ratio(components, shuffle)}, from the initialisation alone "
        f"{by_ratio(init, shuffle)}, from all together {by_ratio(together, shuffle)}."
    )


def _lead(found: Measured) -> str:
    verdicts = Verdicts()
    for source, words in SOURCES.items():
        if f"smelu_{source}" in found.estimates:
            ours, theirs = (found[f"{name}_{source}"].relative_pd for name in ("smelu", "relu"))
            verdicts.add(words, intervals.ratio(ours, theirs))
    words = verdicts.words("lower than ReLU's with", "higher with", "not told apart with")
    rounding = [pd(found[f"{name}_arithmetic"].relative_pd) for name in ("relu", "smelu")]
    return (
        f"{verdicts.for_the_paper()} SmeLU's PD is {words}. What rounding alone grows to: "
        f"{rounding[0]} with ReLU, {rounding[1]} with SmeLU."
    )
