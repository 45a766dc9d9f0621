"""ROC AUC of predictions that do not fit in memory: from a histogram, with a bound on its error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: Logits from -REACH to REACH; what lies beyond is in the outermost bins.
BINS = 1 << 20
REACH = 20.0


def bins_of(predictions: Floats) -> Integers:
    """Return the bin of each probability: bins are equally wide in the logit."""
    with np.errstate(divide="ignore"):
        logits = np.log(predictions) - np.log1p(-predictions)
    place = (np.clip(logits, -REACH, REACH) + REACH) * (BINS / (2 * REACH))
    return np.minimum(place.astype(np.int64), BINS - 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Histogram:
    """Weight of positive and of negative examples of one model by bin, ``(BINS,)`` each."""

    positive: Floats
    negative: Floats

    @classmethod
    def empty(cls) -> Histogram:
        """Return a histogram of nothing."""
        return cls(positive=np.zeros(BINS), negative=np.zeros(BINS))

    def add(self, bins: Integers, labels: Floats, weights: Floats) -> None:
        """Count more examples."""
        np.add.at(self.positive, bins, weights * labels)
        np.add.at(self.negative, bins, weights * (1.0 - labels))

    @property
    def pairs(self) -> float:
        """Weight of the pairs of a positive and a negative example."""
        return float(self.positive.sum() * self.negative.sum())

    def auc(self) -> float:
        """Return the AUC as if predictions of one bin were tied."""
        below = np.cumsum(self.negative) - self.negative / 2.0
        return float(self.positive @ below) / self.pairs

    def error_bound(self) -> float:
        """Return how far the AUC can be off: every pair within a bin decided one way."""
        return float(self.positive @ self.negative) / 2.0 / self.pairs

    def placements(self, bins: Integers, labels: Floats) -> Floats:
        """Return for each example the share of the other label that it is ordered rightly with."""
        below = (np.cumsum(self.negative) - self.negative / 2.0) / self.negative.sum()
        above = 1.0 - (np.cumsum(self.positive) - self.positive / 2.0) / self.positive.sum()
        return np.where(labels == 1.0, below[bins], above[bins])
