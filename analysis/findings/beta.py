"""Relative PD and log loss against beta, family by family."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from analysis import intervals
from analysis.figures.style import looks
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
from analysis.findings.words import (
    beside,
    by_difference,
    by_ratio,
    direction,
    in_brackets,
    listed,
)
from analysis.intervals import Interval
from analysis.results import ArmResults

#: The paper's; for the other families a larger β is less smooth.
SMELU = "smelu"
RELU, LINEAR = "relu", "identity"
CHOSEN = (
    "The β named as lowest for a family is the lowest of those measured, chosen after the fact on "
    "the same test examples. Its intervals are not widened for that choice and so are optimistic."
)
TITLES = {"smelu": "SmeLU", "swish": "Swish", "gelu": "GELU", "softplus": "Softplus"}


def find(found: Measured) -> Finding:
    """Compare each family over its beta with ReLU, with the linear model and with the others."""
    families = {name: _family(found, name) for name in TITLES}
    return Finding(
        title="Smoothness: PD and log loss against β",
        question=(
            "Does a smoother activation give less prediction difference, and is there a β that "
            "also keeps or betters the accuracy of ReLU? A larger β is smoother for SmeLU and "
            "less smooth for the other three; β scales all of them towards a linear model at "
            "one end and ReLU at the other. `identity` is the linear end: layers without an "
            "activation."
        ),
        table=_table(found),
        figure=_draw(found, families),
        caption=(
            "Relative PD, and log loss beside ReLU's, against β, 95 % intervals; bands: ReLU and "
            "the linear model."
        ),
        verdict=_verdict(found, families),
        reading=tuple(_reading(found, families)),
    )


def trend(found: Measured, arms: Sequence[ArmResults]) -> Interval:
    """Return the least-squares slope of log relative PD on log β over a family.

    −0.1 means that doubling β lowers the PD by 7 %.
    """
    x = np.log([arm.beta for arm in arms])
    weights = (x - x.mean()) / np.sum((x - x.mean()) ** 2)
    units = [found[arm.name].relative_pd for arm in arms]
    slope = float(weights @ np.log([each.mean for each in units]))
    parts = [(each, w / each.mean) for each, w in zip(units, weights.tolist(), strict=True)]
    return intervals.combination(slope, parts)


def _family(found: Measured, activation: str) -> list[ArmResults]:
    arms = [arm for arm in found.arms.values() if arm.activation == activation]
    return sorted(arms, key=lambda arm: arm.beta)


def _table(found: Measured) -> Table:
    relu = found[RELU]
    rows = []
    for name, arm in found.arms.items():
        beta = "" if math.isnan(arm.beta) else f"{arm.beta:g}"
        rows.append(
            (
                TITLES.get(arm.activation, arm.activation),
                beta,
                *beside(found[name], relu),
            )
        )
    return Table(
        headings=("activation", "β", "relative PD", "÷ ReLU", "log loss", "− ReLU"),
        rows=tuple(rows),
    )


def _draw(found: Measured, families: dict[str, list[ArmResults]]) -> Figure:
    figure, axes = panels(8.4, 3.9)
    look = looks(list(families))
    for name, arms in families.items():
        x = [arm.beta * DODGE ** list(families).index(name) for arm in arms]
        estimates = [found[arm.name] for arm in arms]
        draw_series(axes[0], x, pd_intervals(estimates), look[name], label=TITLES[name], scale=100)
        differences = loss_differences(estimates, found[RELU])
        draw_series(axes[1], x, differences, look[name], label=TITLES[name])
    ends = [found[RELU], found[LINEAR]]
    for label, level, level_loss in zip(
        ("ReLU", "linear"), pd_intervals(ends), loss_differences(ends, found[RELU]), strict=True
    ):
        draw_level(axes[0], level, label, scale=100)
        draw_level(axes[1], level_loss, label)
        for each, value in ((axes[0], 100 * level.value), (axes[1], level_loss.value)):
            each.annotate(
                label,
                (1.0, value),
                xycoords=("axes fraction", "data"),
                xytext=(2, 0),
                textcoords="offset points",
                fontsize=7.5,
                va="center",
            )
    ticks = sorted({arm.beta for arms in families.values() for arm in arms})
    logarithmic_x(axes, ticks)
    for each in axes:
        each.tick_params(axis="x", labelsize=7.5)
    label_panels(axes, "ReLU's", x="β")
    axes[0].set_ylim(bottom=0)
    handles, labels = axes[0].get_legend_handles_labels()
    shown = [
        (handle, label)
        for handle, label in zip(handles, labels, strict=True)
        if label in TITLES.values()
    ]
    figure.legend(*zip(*shown, strict=True), loc="outside upper center", ncols=len(shown))
    return figure


def _reading(found: Measured, families: dict[str, list[ArmResults]]) -> list[str]:
    relu = found[RELU]
    sentences = []
    for name, arms in families.items():
        best = min(arms, key=lambda arm: found[arm.name].relative_pd.mean)
        each = found[best.name]
        slope = trend(found, arms)
        trend_words = _trend_words(slope, rises_with_smoothness=name == SMELU)
        sentences.append(
            f"**{TITLES[name]}**: lowest at β = {best.beta:g}, where its PD is "
            f"{by_ratio(each.relative_pd, relu.relative_pd)} beside ReLU's and its log loss "
            f"{by_difference(each.log_loss, relu.log_loss)}. Over the grid {trend_words} "
            f"{in_brackets('slope of log PD on log β', slope, 3)}."
        )
    return [CHOSEN, *sentences, _linear(found)]


def _trend_words(slope: Interval, *, rises_with_smoothness: bool) -> str:
    """Say whether PD follows β over the grid, and whether smoother is then lower."""
    if settled_below(slope, 0):
        return "PD falls as β grows: " + _smoother(lower=rises_with_smoothness)
    if settled_above(slope, 0):
        return "PD rises as β grows: " + _smoother(lower=not rises_with_smoothness)
    return "PD has no trend in β that could be told from none"


def _smoother(*, lower: bool) -> str:
    return "the smoother, the lower" if lower else "the smoother, the higher, against the paper"


@dataclass(frozen=True, kw_only=True, slots=True)
class BesideRelu:
    """Arms' names, and which way the PD and the log loss of each is told to differ from ReLU's."""

    arms: tuple[tuple[str, str, str], ...]

    def having(self, *, pd: str = "", loss: str = "") -> list[str]:
        """Return the arms whose PD and log loss have these directions; empty is any."""
        return [
            name
            for name, pd_here, loss_here in self.arms
            if pd in ("", pd_here) and loss in ("", loss_here)
        ]


def beside_relu(found: Measured, arms: Sequence[ArmResults], *, confidence: float) -> BesideRelu:
    """Sort arms by what their intervals of this confidence say beside ReLU."""
    relu = found[RELU]
    directions = []
    for arm in arms:
        each = found[arm.name]
        of_pd = intervals.ratio(each.relative_pd, relu.relative_pd, confidence=confidence)
        of_loss = intervals.difference(each.log_loss, relu.log_loss, confidence=confidence)
        name = f"{TITLES[arm.activation]}({arm.beta:g})"
        directions.append((name, direction(of_pd), direction(of_loss, none=0.0)))
    return BesideRelu(arms=tuple(directions))


def _verdict(found: Measured, families: dict[str, list[ArmResults]]) -> str:
    """Judge SmeLU by all of its betas together; the other families are context.

    That one beta lowers both is claimed of whichever does, so each interval is as wide as needed
    for all of them to hold at once. The two of one beta must both be settled, which asks for no
    more.
    """
    arms = families[SMELU]
    confidence = intervals.each_of(len(arms))
    smelu = beside_relu(found, arms, confidence=confidence)
    both = smelu.having(pd="lower", loss="lower")
    higher = smelu.having(pd="higher")
    if both and higher:
        claim = (
            f"**For the paper** in part: PD and log loss are lower at once for {listed(both)}, but "
            f"PD is higher for {listed(higher)}"
        )
    elif both:
        claim = f"**For the paper**: PD and log loss are lower at once for {listed(both)}"
    elif higher:
        claim = (
            f"**Against the paper**, at least in part: PD is higher than ReLU's for "
            f"{listed(higher)}, and no β has both a PD and a log loss told to be lower"
        )
    else:
        claim = "**Not shown**: no β of SmeLU has both a PD and a log loss told to be lower"
    return (
        f"{claim}{_linear_caveat(found)}. This takes the {len(arms)} β of SmeLU together, with "
        f"intervals of {100 * confidence:.1f} % each, so that those of the PD, and those of the "
        f"log loss, all hold 95 % of the time: the PD is lower than ReLU's for "
        f"{listed(smelu.having(pd='lower'))}, higher for {listed(higher)}; "
        f"the log loss is lower for {listed(smelu.having(loss='lower'))}, higher for "
        f"{listed(smelu.having(loss='higher'))}. {_context(found, families)}"
    )


def _linear_caveat(found: Measured) -> str:
    """Return a clause for where layers without any activation are not told to be worse."""
    if _linear_is_worse(found):
        return ""
    return (
        "; but `identity`, no activation at all, is not told to be worse than ReLU here in either, "
        "so that this data does not tell smoothness from being closer to linear"
    )


def _linear_is_worse(found: Measured) -> bool:
    relu, linear = found[RELU], found[LINEAR]
    accuracy = intervals.difference(linear.log_loss, relu.log_loss)
    difference = intervals.ratio(linear.relative_pd, relu.relative_pd)
    return "higher" in (direction(accuracy, none=0.0), direction(difference))


def _context(found: Measured, families: dict[str, list[ArmResults]]) -> str:
    """Count what the other families do, which the verdict does not ask about."""
    others = [arm for name, arms in families.items() if name != SMELU for arm in arms]
    smooth = beside_relu(found, others, confidence=intervals.CONFIDENCE)
    return (
        f"For context, arm by arm at 95 %, unadjusted: of {len(others)} arms of the other smooth "
        f"families PD is lower for {len(smooth.having(pd='lower'))} and higher for "
        f"{len(smooth.having(pd='higher'))}; both PD and log loss are lower for "
        f"{listed(smooth.having(pd='lower', loss='lower'))}."
    )


def _linear(found: Measured) -> str:
    relu, linear = found[RELU], found[LINEAR]
    best = min(found.estimates, key=lambda name: found[name].log_loss.mean)
    accuracy = intervals.difference(linear.log_loss, relu.log_loss)
    worse = direction(accuracy, none=0.0) == "higher"
    caution = (
        "so what a layer's activation is worth shows in this data"
        if worse
        else "so this data does not show what an activation is worth at all: in one pass over it "
        "the layers need none, and a lower log loss than ReLU's means no more than closer to linear"
    )
    return (
        "The linear limit shows what a low PD alone is worth: without any activation PD is "
        f"{by_ratio(linear.relative_pd, relu.relative_pd)} and the log loss "
        f"{by_difference(linear.log_loss, relu.log_loss)} beside ReLU's, {caution}. The lowest log "
        f"loss of all arms is that of `{best}`."
    )
