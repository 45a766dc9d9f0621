"""How much the PD of M models scatters from one choice of models to another.

The PD of M models is a U-statistic over pairs, so its variance over independent choices of models
is ``2 / (M (M - 1)) * (2 (M - 2) * shared + pair)``, where ``pair`` is the variance of one pair's
PD and ``shared`` the covariance of two pairs that have one model in common (Hoeffding 1948,
doi 10.1214/aoms/1177730196). Both are estimated without bias from all pairs of many models.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from analysis.intervals import Interval, of_mean

Floats = NDArray[np.float64]

#: Below, no two pairs are disjoint and nothing tells the scatter from the level.
FEWEST_MODELS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Scatter:
    """The variance of a pair's PD, and the covariance of two pairs that share a model."""

    pair: float
    shared: float

    def variance(self, models: int) -> float:
        """Return the variance of the PD of so many models; never below 0."""
        pairs = models * (models - 1) / 2
        return max((2 * (models - 2) * self.shared + self.pair) / pairs, 0.0)


def matrix(values: Floats, models: int) -> Floats:
    """Return the PDs of all pairs, in the order of ``itertools.combinations``, as ``(M, M)``."""
    square = np.zeros((models, models))
    for value, (first, second) in zip(values, combinations(range(models), 2), strict=True):
        square[first, second] = square[second, first] = value
    return square


def scatter(pairs: Floats) -> Scatter:
    """Return the scatter of the PDs ``(M, M)`` of at least four models."""
    models = len(pairs)
    if models < FEWEST_MODELS:
        raise ValueError(f"pairs is {pairs.shape}, expected at least {FEWEST_MODELS} models")
    rows = pairs.sum(axis=1)
    # Sums of products of ordered pairs: the same pair, pairs sharing a model, disjoint ones.
    same = float(np.sum(pairs**2))
    sharing = float(np.sum(rows**2)) - same
    disjoint = float(rows.sum()) ** 2 - 4 * sharing - 2 * same
    count = models * (models - 1)
    square = disjoint / (count * (models - 2) * (models - 3))
    return Scatter(pair=same / count - square, shared=sharing / (count * (models - 2)) - square)


def spread(pairs: Floats, models: int) -> Interval:
    """Return the standard deviation of the PD of so many ``models``, as a share of the PD.

    The interval is the jackknife's over the M models of ``pairs``: pseudo-values and Student's t.
    It covers other choices of models, on the same evaluation examples.
    """
    every = len(pairs)
    value = _relative(pairs, models)
    without = np.array(
        [
            _relative(np.delete(np.delete(pairs, one, axis=0), one, axis=1), models)
            for one in range(every)
        ]
    )
    bounds = of_mean(every * value - (every - 1) * without, "a single model shows no spread")
    middle = (bounds.high - bounds.low) / 2
    return Interval(
        value=value,
        low=max(value - middle, 0.0),
        high=value + middle,
        replicas=every,
        covers_replicas=True,
    )


def rightly_ordered(lower: Floats, higher: Floats, models: int, *, draws: int, seed: int) -> float:
    """Return how often a PD of ``models`` drawn from each arm orders the two arms like all do.

    ``lower`` and ``higher`` are the PDs ``(M, M)``; models are drawn without replacement.
    """
    rng = np.random.Generator(np.random.Philox(seed))
    pairs = models * (models - 1)

    def drawn(square: Floats) -> float:
        chosen = rng.permutation(len(square))[:models]
        return float(square[np.ix_(chosen, chosen)].sum()) / pairs

    return float(np.mean([drawn(lower) < drawn(higher) for _ in range(draws)]))


def _relative(pairs: Floats, models: int) -> float:
    mean = float(pairs.sum()) / (len(pairs) * (len(pairs) - 1))
    return float(np.sqrt(scatter(pairs).variance(models))) / mean
