"""Relative PD against the number of components, with tables of their own or shared."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator, ScalarFormatter

from analysis import intervals
from analysis.figures.style import GREY, Look, looks
from analysis.findings.drawing import (
    DODGE,
    draw_level,
    draw_series,
    label_panels,
    logarithmic_x,
    loss_differences,
    panels,
    pd_intervals,
)
from analysis.findings.finding import Finding, Measured, Table, settled_above, settled_below
from analysis.findings.floor import Fall, fit, root
from analysis.findings.words import Verdicts, by_difference, by_ratio, loss, number, pd, percent
from analysis.intervals import Interval

SINGLE, SMELU = "relu", "smelu"
COMPONENTS = (1, 2, 3, 4, 5, 6, 7, 8)
TITLES = {"separate": "tables of their own", "shared": "shared tables"}
ROOT = -0.5


def find(found: Measured) -> Finding:
    """Fit how PD falls with K, and set a single SmeLU beside it."""
    falls = {
        kind: fit({count: found[_arm(kind, count)].relative_pd for count in COMPONENTS})
        for kind in TITLES
    }
    return Finding(
        title="Ensemble size: does PD fall as 1/√K, and where is the floor?",
        question=(
            "Independent errors of K components average out as 1/√K; what the components share "
            "stays. Here all components see the same shuffled stream, as they do in a serving "
            "system, and replicas differ in that shuffle. With tables of their own (K times the "
            "lookups) or on one set of tables (a self-ensemble: the lookups of one model). The "
            "fit is PD² = a²/K + b², b being the floor."
        ),
        table=_table(found),
        figure=_draw(found, falls),
        caption=(
            "Left: relative PD against K on logarithmic axes, measured (points) and fitted "
            "(lines); dotted: 1/√K from K = 1. Right: log loss beside one ReLU's. Band: one "
            "SmeLU(1)."
        ),
        verdict=_verdict(found, falls),
        reading=tuple(_reading(found, falls)),
    )


def _arm(kind: str, count: int) -> str:
    return SINGLE if count == 1 else f"{kind}_{count}"


def _table(found: Measured) -> Table:
    rows = []
    for count in COMPONENTS:
        cells = [str(count), f"{count**ROOT:.2f}"]
        for kind in TITLES:
            arm, single = found[_arm(kind, count)], found[SINGLE]
            relative = intervals.ratio(arm.relative_pd, single.relative_pd).interval
            cells += [
                pd(arm.relative_pd),
                "1" if count == 1 else number(relative, 2),
                loss(arm.log_loss),
            ]
        rows.append(tuple(cells))
    smelu = found[SMELU]
    relative = intervals.ratio(smelu.relative_pd, found[SINGLE].relative_pd).interval
    cells = [pd(smelu.relative_pd), number(relative, 2), loss(smelu.log_loss)]
    rows.append(("1, SmeLU(1)", "", *cells, "", "", ""))
    return Table(
        headings=(
            "K",
            "1/√K",
            "PD, own tables",
            "÷ K = 1",
            "log loss",
            "PD, shared tables",
            "÷ K = 1",
            "log loss",
        ),
        rows=tuple(rows),
    )


def _draw(found: Measured, falls: dict[str, Fall]) -> Figure:
    figure, axes = panels(8.4, 3.8)
    look = looks(list(TITLES))
    for kind, title in TITLES.items():
        arms = [found[_arm(kind, count)] for count in COMPONENTS]
        x = [count * DODGE ** list(TITLES).index(kind) for count in COMPONENTS]
        draw_series(
            axes[0],
            x,
            pd_intervals(arms),
            look[kind],
            label=title,
            scale=100,
            joined=False,
        )
        _draw_fit(axes[0], falls[kind], look[kind])
        draw_series(axes[1], x, loss_differences(arms, found[SINGLE]), look[kind], label=title)
    k = np.geomspace(1, COMPONENTS[-1], 50)
    axes[0].plot(
        k,
        100 * found[SINGLE].relative_pd.mean * k**ROOT,
        color=GREY,
        linestyle=":",
        label="1/√K from K = 1",
    )
    draw_level(axes[0], pd_intervals([found[SMELU]])[0], "one SmeLU(1)", scale=100)
    draw_level(axes[1], loss_differences([found[SMELU]], found[SINGLE])[0], "one SmeLU(1)")
    logarithmic_x(axes, COMPONENTS)
    label_panels(axes, "one ReLU's", x="components, K")
    _percent_ticks(axes[0])
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4)
    return figure


def _draw_fit(axes: Axes, fall: Fall, look: Look) -> None:
    k = np.geomspace(1, COMPONENTS[-1], 50)
    axes.plot(k, 100 * fall.at(k), color=look.colour, linestyle=look.dash, linewidth=1.0)


def _percent_ticks(axes: Axes) -> None:
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    nice = [1, 1.5, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30]
    axes.yaxis.set_major_locator(FixedLocator([tick for tick in nice if low <= tick <= high]))
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())


def _reading(found: Measured, falls: dict[str, Fall]) -> list[str]:
    return [
        *(_fall_words(found, kind, fall) for kind, fall in falls.items()),
        _beside_smelu(found, "shared"),
        _accuracy(found),
    ]


def _verdict(found: Measured, falls: dict[str, Fall]) -> str:
    separate, shared = falls["separate"], falls["shared"]
    against = _against(found, "separate")
    if against.higher:
        verdict = "**Against the paper**: one SmeLU(1) does not replace every ensemble here."
    elif against.open:
        verdict = "**Undecided**: one SmeLU(1) is not told apart from every ensemble."
    else:
        verdict = "**For the paper**: one SmeLU(1) has a lower PD than every ensemble."
    return (
        f"{verdict} {_beside_smelu(found, 'separate')} With tables of their own "
        f"{_root_words(separate.exponent)}. {_floor_words(separate)} With shared tables "
        f"{_root_words(shared.exponent)}. {_floor_words(shared)}"
    )


def _fall_words(found: Measured, kind: str, fall: Fall) -> str:
    largest = found[_arm(kind, COMPONENTS[-1])].relative_pd
    return (
        f"**{TITLES[kind].capitalize()}**: {_root_words(fall.exponent)} (PD goes as K to the "
        f"power {number(fall.exponent, 2)}, where 1/√K is −0.50). At K = {COMPONENTS[-1]} PD is "
        f"{by_ratio(largest, found[SINGLE].relative_pd)} beside K = 1; 1/√K would be "
        f"{100 * (1 - COMPONENTS[-1] ** ROOT):.0f} % lower."
    )


def _root_words(exponent: Interval) -> str:
    if settled_above(exponent, ROOT):
        return "PD falls more slowly than 1/√K"
    if settled_below(exponent, ROOT):
        return "PD falls faster than 1/√K"
    return "PD falls as 1/√K, as far as can be told"


def _floor_words(fall: Fall) -> str:
    b = root(fall.floor)
    if settled_above(fall.floor, 0):
        return (
            f"The floor is {percent(b)}: {percent(fall.share)} of a single model's squared PD "
            "stays however many components there are."
        )
    return f"A floor above 0 is not shown: at most {100 * b.high:.1f} %."


def _against(found: Measured, kind: str) -> Verdicts:
    """Compare one SmeLU with every ensemble; lower means that SmeLU's PD is."""
    verdicts = Verdicts()
    for count in COMPONENTS[1:]:
        ensemble = found[_arm(kind, count)].relative_pd
        verdicts.add(str(count), intervals.ratio(found[SMELU].relative_pd, ensemble))
    return verdicts


def _beside_smelu(found: Measured, kind: str) -> str:
    words = _against(found, kind).words(
        "lower than with K =", "higher than with K =", "not told apart at K ="
    )
    return f"One SmeLU(1) beside ReLU ensembles with {TITLES[kind]}: its PD is {words}."


def _accuracy(found: Measured) -> str:
    largest = {kind: found[_arm(kind, COMPONENTS[-1])].log_loss for kind in TITLES}
    single, smelu = found[SINGLE].log_loss, found[SMELU].log_loss
    return (
        f"Accuracy: at K = {COMPONENTS[-1]} the log loss beside one ReLU is "
        f"{by_difference(largest['separate'], single)} with tables of their own and "
        f"{by_difference(largest['shared'], single)} with shared ones; that of one SmeLU(1) is "
        f"{by_difference(smelu, single)}."
    )
