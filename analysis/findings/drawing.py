"""What the figures of several findings share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from analysis import intervals
from analysis.figures.style import GREY, Look
from analysis.intervals import Interval
from analysis.summary import Estimates

PD_LABEL = "relative prediction difference, %"
#: Beside a baseline: how well users are predicted differs far more between users than between arms.
LOSS_LABEL = "log loss − {}, nats"
#: Neighbouring series are set so far apart on a logarithmic axis, as a factor.
DODGE = 1.035


def panels(width: float, height: float, count: int = 2) -> tuple[Figure, list[Axes]]:
    """Return a figure of several axes side by side, in inches, apart from pyplot's state."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(figure.subplots(1, count))


def pd_intervals(arms: Sequence[Estimates]) -> list[Interval]:
    """Return the relative PD of each arm."""
    return [intervals.estimate(arm.relative_pd, positive=True) for arm in arms]


def loss_differences(arms: Sequence[Estimates], baseline: Estimates) -> list[Interval]:
    """Return how far the log loss of each arm lies from the baseline's."""
    return [intervals.difference(arm.log_loss, baseline.log_loss).interval for arm in arms]


def label_panels(axes: Sequence[Axes], beside: str, *, x: str = "") -> None:
    """Label a panel of relative PD and one of log loss ``beside`` a baseline, and what ``x`` is."""
    for each, label in zip(axes, (PD_LABEL, LOSS_LABEL.format(beside)), strict=True):
        each.set_xlabel(x)
        each.set_ylabel(label)


def logarithmic_x(axes: Sequence[Axes], ticks: Sequence[float], *, base: int = 10) -> None:
    """Make the x axes logarithmic, with plain numbers at ``ticks`` alone."""
    for each in axes:
        each.set_xscale("log", base=base)
        each.xaxis.set_major_locator(FixedLocator(ticks))
        each.xaxis.set_minor_locator(NullLocator())
        each.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def draw_series(
    axes: Axes,
    x: Sequence[float],
    found: Sequence[Interval],
    look: Look,
    *,
    label: str,
    scale: float = 1.0,
    joined: bool = True,
    hollow: bool = False,
) -> None:
    """Draw values with their intervals, times ``scale``, as one series."""
    value, low, high = (
        scale * np.array([getattr(each, name) for each in found])
        for name in ("value", "low", "high")
    )
    axes.errorbar(
        x,
        value,
        yerr=[value - low, high - value],
        color=look.colour,
        linestyle=look.dash if joined else "none",
        marker=look.marker,
        markerfacecolor="white" if hollow else look.colour,
        markersize=4.5,
        linewidth=1.1,
        elinewidth=0.7,
        capsize=2,
        label=label,
    )


def draw_level(axes: Axes, found: Interval, label: str, *, scale: float = 1.0) -> None:
    """Draw one value with its interval as a level that all of the axes can be compared with."""
    axes.axhspan(scale * found.low, scale * found.high, color=GREY, alpha=0.15, linewidth=0)
    axes.axhline(scale * found.value, color=GREY, linewidth=0.9, linestyle="--", label=label)
