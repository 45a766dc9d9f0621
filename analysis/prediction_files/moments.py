"""Metrics and their spread over examples from sums that are added up part by part."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.intervals import Units

Floats = NDArray[np.float64]


@dataclass(kw_only=True, slots=True)
class Moments:
    """First and second moments of ``K`` sums over clusters of examples.

    The last of the sums is what clusters count by.
    """

    sums: int
    first: Floats = field(init=False)
    second: Floats = field(init=False)
    clusters: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.first = np.zeros(self.sums)
        self.second = np.zeros((self.sums, self.sums))

    def add(self, by_cluster: Floats) -> None:
        """Add the clusters of one part, ``(K, G)``; those that are all 0 do not count."""
        self.first += by_cluster.sum(axis=1)
        self.second += by_cluster @ by_cluster.T
        self.clusters += int(np.count_nonzero(by_cluster.any(axis=0)))

    def ratios(self, order: int, undefined: str) -> Units:
        """Return each sum over the last one as units, or NaN for the reason ``undefined``."""
        total = float(self.first[-1])
        units = self.sums - 1
        # With U pairs of M models, M (M - 1) / 2 = U.
        models = units if order == 1 else (1 + math.isqrt(1 + 8 * units)) // 2
        replicas = tuple(range(models))
        if total <= 0:
            return self.undefined(replicas, order, undefined)
        values = self.first[:-1] / total
        slopes = np.column_stack([np.eye(units), -values]) / total
        return self.units(values, slopes, replicas, order)

    def units(self, values: Floats, slopes: Floats, replicas: tuple[int, ...], order: int) -> Units:
        """Return statistics of the sums, ``(U,)``, with their slopes by the sums ``(U, K)``.

        Statistics that stay when all sums are scaled alike have slopes at right angles to the sums,
        so that their variance over clusters needs no centring.
        """
        scale = self.clusters / max(self.clusters - 1, 1)
        covariance = slopes @ self.second @ slopes.T * scale
        return Units(
            values=values,
            influence=square_root(covariance),
            replicas=replicas,
            order=order,
            clusters=float(self.first[-1] ** 2 / self.second[-1, -1]),
        )

    def undefined(self, replicas: tuple[int, ...], order: int, reason: str) -> Units:
        """Return units whose value is NaN, and why."""
        return Units(
            values=np.full(1, np.nan),
            influence=np.zeros((1, 1)),
            replicas=replicas,
            order=order,
            clusters=0.0,
            reason=reason,
        )


def square_root(covariance: Floats) -> Floats:
    """Return ``R`` with ``R @ R.T`` the covariance, whose rounding errors below 0 are dropped."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)), np.float64)
