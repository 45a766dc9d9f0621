"""Whether what an arm gains depends on layer normalisation."""

from __future__ import annotations

import math

from matplotlib.figure import Figure

from analysis import intervals
from analysis.figures.style import looks
from analysis.findings.drawing import (
    draw_series,
    label_panels,
    loss_differences,
    panels,
    pd_intervals,
)
from analysis.findings.finding import Finding, Measured, Table, settled_above, settled_below
from analysis.findings.words import (
    beside,
    by_difference,
    by_ratio,
    direction,
    number,
)
from analysis.intervals import Interval

RELU = "relu"
TITLES = {"relu": "ReLU", "smelu": "SmeLU(1)", "relu_ensemble": "ensemble of 3"}
#: Suffix of the arms without layer normalisation.
PLAIN = "_plain"


def find(found: Measured) -> Finding:
    """Compare each arm with ReLU of the same normalisation, and with itself without it."""
    return Finding(
        title="Normalisation: is the gain one of layer normalisation?",
        question=(
            "SmeLU's half-width β has the unit of its input, which layer normalisation fixes. Do "
            "SmeLU and an ensemble still better ReLU without it?"
        ),
        table=_table(found),
        figure=_draw(found),
        caption=(
            "Relative PD, and log loss beside that of ReLU with layer normalisation; full: with "
            "it, hollow: without."
        ),
        verdict=_verdict(found),
        reading=tuple(_reading(found)),
    )


def dependence(found: Measured, name: str) -> Interval:
    """Return (PD ÷ ReLU's without normalisation) ÷ (PD ÷ ReLU's with it); none is 1."""
    arms = [(f"{name}{PLAIN}", 1), (f"{RELU}{PLAIN}", -1), (name, -1), (RELU, 1)]
    units = [(found[arm].relative_pd, sign) for arm, sign in arms]
    logarithm = sum(sign * math.log(each.mean) for each, sign in units)
    return exponential(
        intervals.combination(logarithm, [(each, sign / each.mean) for each, sign in units])
    )


def exponential(interval: Interval) -> Interval:
    """Return the interval of a quantity from that of its logarithm."""
    return Interval(
        value=math.exp(interval.value),
        low=math.exp(interval.low),
        high=math.exp(interval.high),
        replicas=interval.replicas,
        covers_replicas=interval.covers_replicas,
        reason=interval.reason,
    )


def _table(found: Measured) -> Table:
    rows = []
    for suffix, normalised in (("", "yes"), (PLAIN, "no")):
        relu = found[f"{RELU}{suffix}"]
        for name, title in TITLES.items():
            rows.append((title, normalised, *beside(found[f"{name}{suffix}"], relu)))
    return Table(
        headings=(
            "arm",
            "layer norm",
            "relative PD",
            "÷ ReLU of the same norm",
            "log loss",
            "− ReLU of the same norm",
        ),
        rows=tuple(rows),
    )


def _draw(found: Measured) -> Figure:
    figure, axes = panels(7.6, 3.4)
    look = looks(list(TITLES))
    for place, (name, title) in enumerate(TITLES.items()):
        for suffix, offset in (("", -0.1), (PLAIN, 0.1)):
            arm = [found[f"{name}{suffix}"]]
            for each, scale, values in (
                (axes[0], 100.0, pd_intervals(arm)),
                (axes[1], 1.0, loss_differences(arm, found[RELU])),
            ):
                draw_series(
                    each,
                    [place + offset],
                    values,
                    look[name],
                    label=title,
                    scale=scale,
                    hollow=bool(suffix),
                )
    for each in axes:
        each.set_xticks(range(len(TITLES)), list(TITLES.values()))
        each.set_xlim(-0.5, len(TITLES) - 0.5)
    label_panels(axes, "ReLU's with it")
    axes[0].set_ylim(bottom=0)
    return figure


def _reading(found: Measured) -> list[str]:
    plain_relu = found[f"{RELU}{PLAIN}"]
    reading = []
    for name, title in TITLES.items():
        if name == RELU:
            continue
        plain = found[f"{name}{PLAIN}"]
        reading.append(
            f"**{title}**: with layer normalisation its PD is "
            f"{by_ratio(found[name].relative_pd, found[RELU].relative_pd)} beside ReLU's, without "
            f"{by_ratio(plain.relative_pd, plain_relu.relative_pd)}; its log loss is "
            f"{by_difference(found[name].log_loss, found[RELU].log_loss)} with and "
            f"{by_difference(plain.log_loss, plain_relu.log_loss)} without. {_depends(found, name)}"
        )
    removed = by_ratio(plain_relu.relative_pd, found[RELU].relative_pd)
    worse = by_difference(plain_relu.log_loss, found[RELU].log_loss)
    return [
        *reading,
        f"ReLU itself, without layer normalisation beside with it: PD {removed}, log loss {worse}.",
    ]


def _verdict(found: Measured) -> str:
    words = {
        "lower": "**For the paper**: SmeLU needs no layer normalisation to lower PD here.",
        "higher": "**Against the paper**: without layer normalisation SmeLU raises PD here.",
        "open": "**Undecided**: without layer normalisation SmeLU's PD is not told from ReLU's.",
    }
    plain = (found[f"{name}{PLAIN}"].relative_pd for name in ("smelu", RELU))
    return words[direction(intervals.ratio(*plain))]


def _depends(found: Measured, name: str) -> str:
    factor = dependence(found, name)
    if settled_above(factor, 1):
        word = "so it gains less without"
    elif settled_below(factor, 1):
        word = "so it gains more without"
    else:
        word = "so that it depends on normalisation is not shown"
    return f"The second ratio over the first is {number(factor, 2)}, {word}."
