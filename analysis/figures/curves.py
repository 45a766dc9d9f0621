"""Activations and their gradients, from arrays that the caller computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.figures.style import looks

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """An activation of one beta: its values and gradients at ``x``, ``(P,)`` each."""

    beta: float
    x: Floats
    value: Floats
    gradient: Floats


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """One activation over its betas."""

    name: str
    curves: tuple[Curve, ...]


def activation_curves(families: Sequence[Family]) -> Figure:
    """Draw each family in a row: the activation on the left, its gradient on the right."""
    rows = len(families)
    figure = Figure(figsize=(7.2, 2.1 * rows + 0.3), layout="constrained")
    panels = figure.subplots(rows, 2, sharex=True, squeeze=False)
    for family, (left, right) in zip(families, panels, strict=True):
        look = looks([str(curve.beta) for curve in family.curves])
        for curve in family.curves:
            each = look[str(curve.beta)]
            style = {"color": each.colour, "linestyle": each.dash, "label": f"β = {curve.beta:g}"}
            left.plot(curve.x, curve.value, **style)
            right.plot(curve.x, curve.gradient, **style)
        left.set_title(f"{family.name}, value")
        right.set_title(f"{family.name}, gradient")
        right.set_ylim(-0.2, 1.2)
        right.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    for axes in panels[-1]:
        axes.set_xlabel("input")
    return figure
