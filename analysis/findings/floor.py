"""How relative PD falls with the number of components, and to which floor.

What is each component's own averages out as 1/√K; what all of them share (the same examples in the
same order, the same tables) does not. If the two are independent, ``PD² = a² / K + b²``, fitted by
least squares weighted so that each K counts by its relative error: ``b`` is the floor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis import intervals
from analysis.intervals import Interval, Units

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Fall:
    """A fit of PD against K.

    ``exponent`` is that of K (−0.5 is one over the root); ``own`` and ``floor`` are the squares
    a² and b²; ``share`` is b² / (a² + b²), what of a single model's squared PD no ensemble removes.
    """

    exponent: Interval
    own: Interval
    floor: Interval
    share: Interval

    def at(self, components: NDArray[np.floating]) -> Floats:
        """Return the fitted PD of so many components."""
        square = self.own.value / components + self.floor.value
        return np.asarray(np.sqrt(np.maximum(square, 0.0)), np.float64)


def fit(by_components: Mapping[int, Units]) -> Fall:
    """Fit the relative PD of arms by their number of components, at least two different ones."""
    components = np.array(list(by_components), np.float64)
    units = list(by_components.values())
    pd = np.array([each.mean for each in units])

    design = np.stack([1 / components, np.ones(len(components))], axis=1)
    weighted = design / pd[:, None] ** 2
    solve = np.linalg.solve(weighted.T @ weighted, weighted.T) / pd**2  # (2, K)
    own, floor = (solve @ pd**2).tolist()
    # The weights count as known: how they move the fit is of second order where it fits.
    slopes = 2 * solve * pd

    centred = np.log(components) - np.log(components).mean()
    along = centred / np.sum(centred**2)
    total = own + floor
    share_slopes = (slopes[1] * own - slopes[0] * floor) / total**2
    return Fall(
        exponent=_interval(float(along @ np.log(pd)), units, along / pd),
        own=_interval(own, units, slopes[0]),
        floor=_interval(floor, units, slopes[1]),
        share=_interval(floor / total, units, share_slopes),
    )


def root(square: Interval) -> Interval:
    """Return the interval of a root from that of its square; below 0 counts as 0."""
    return Interval(
        value=math.sqrt(max(square.value, 0.0)),
        low=math.sqrt(max(square.low, 0.0)),
        high=math.sqrt(max(square.high, 0.0)),
        replicas=square.replicas,
        covers_replicas=square.covers_replicas,
        reason=square.reason,
    )


def _interval(value: float, units: list[Units], slopes: Floats) -> Interval:
    return intervals.combination(value, list(zip(units, slopes.tolist(), strict=True)))
