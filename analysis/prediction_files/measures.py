"""Metrics of prediction files as sums over groups, accumulated over parts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from analysis.prediction_difference import (
    Kernel,
    absolute_difference,
    logit_difference,
    mean_deviation,
    relative_difference,
    side_difference,
)
from analysis.prediction_files.alignment import Rows, Spilled
from analysis.statistics.estimators import POSITIVE, RELATIVE, SHARE, Range
from analysis.statistics.intervals import Units
from analysis.statistics.rankings import group_overlap, group_swaps
from recsys.metrics import group_auc, log_losses

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: Logits from -REACH to REACH; what lies beyond is in the outermost bins.
BINS = 1 << 20
REACH = 20.0


def bins_of(predictions: Floats) -> Integers:
    """Return the bin of each probability; bins have equal width in the logit."""
    with np.errstate(divide="ignore"):
        logits = np.log(predictions) - np.log1p(-predictions)
    place = (np.clip(logits, -REACH, REACH) + REACH) * (BINS / (2 * REACH))
    return np.minimum(place.astype(np.int64), BINS - 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Histogram:
    """Weight of positive and negative examples of one model by bin, ``(BINS,)`` each."""

    positive: Floats
    negative: Floats

    @classmethod
    def empty(cls) -> Histogram:
        """Return an empty histogram."""
        return cls(positive=np.zeros(BINS), negative=np.zeros(BINS))

    def add(self, bins: Integers, labels: Floats, weights: Floats) -> None:
        """Add examples."""
        np.add.at(self.positive, bins, weights * labels)
        np.add.at(self.negative, bins, weights * (1.0 - labels))

    @property
    def pairs(self) -> float:
        """Weight of all pairs of a positive and a negative example."""
        return float(self.positive.sum() * self.negative.sum())

    def auc(self) -> float:
        """Return the AUC with predictions of one bin treated as ties."""
        below = np.cumsum(self.negative) - self.negative / 2.0
        return float(self.positive @ below) / self.pairs

    def error_bound(self) -> float:
        """Return the maximum error of the AUC: all pairs within a bin in one order."""
        return float(self.positive @ self.negative) / 2.0 / self.pairs

    def placements(self, bins: Integers, labels: Floats) -> Floats:
        """Return for each example the share of the other label's examples in correct order."""
        below = (np.cumsum(self.negative) - self.negative / 2.0) / self.negative.sum()
        above = 1.0 - (np.cumsum(self.positive) - self.positive / 2.0) / self.positive.sum()
        return np.where(labels == 1.0, below[bins], above[bins])


@dataclass(kw_only=True, slots=True)
class Moments:
    """First and second moments of ``K`` sums over clusters; the last sum is the denominator."""

    sums: int
    first: Floats = field(init=False)
    second: Floats = field(init=False)
    clusters: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.first = np.zeros(self.sums)
        self.second = np.zeros((self.sums, self.sums))

    def add(self, by_cluster: Floats) -> None:
        """Add the clusters of one part, ``(K, G)``; clusters of zeros are ignored."""
        self.first += by_cluster.sum(axis=1)
        self.second += by_cluster @ by_cluster.T
        self.clusters += int(np.count_nonzero(by_cluster.any(axis=0)))

    def ratios(self, order: int, undefined: str) -> Units:
        """Return each sum divided by the last as units, or NaN with the reason ``undefined``."""
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
        """Return statistics of the sums, ``(U,)``, from their derivatives by the sums ``(U, K)``.

        Scale-invariant statistics have derivatives orthogonal to the sums, so the variance over
        clusters needs no centring.
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
        """Return NaN units with the reason."""
        return Units(
            values=np.full(1, np.nan),
            influence=np.zeros((1, 1)),
            replicas=replicas,
            order=order,
            clusters=0.0,
            reason=reason,
        )


def square_root(covariance: Floats) -> Floats:
    """Return ``R`` with ``R @ R.T`` the covariance; negative eigenvalues are rounding errors."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)), np.float64)


Sums = Callable[[Rows], Floats]

NO_ROWS = "all rows weigh 0"
NO_PAIRS = "no group has two examples"


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """A metric of each file (``order`` 1) or pair of files (2).

    ``sums`` returns one part's sums over groups, ``(K, G)``; ``moments`` accumulates them;
    ``finish`` computes the metric, which is in the range ``within``.
    """

    name: str
    order: int
    sums: Sums
    moments: Moments
    finish: Callable[[Moments], Units]
    within: Range

    def add(self, rows: Rows) -> None:
        """Add one part."""
        self.moments.add(self.sums(rows))

    def units(self) -> Units:
        """Return the metric of all added parts."""
        return replace(self.finish(self.moments), within=self.within)


def accuracy_measures(parts: Spilled) -> list[Measure]:
    """Return the metrics of each file except the AUC."""
    models = len(parts.files)
    edge = parts.resolution
    measures = [
        _ratio("log loss", 1, models, partial(_losses, edge=edge), NO_ROWS, POSITIVE),
        Measure(
            name="NE",
            order=1,
            sums=partial(_losses_and_positives, edge=edge),
            moments=Moments(sums=models + 2),
            finish=_normalized_entropy,
            within=POSITIVE,
        ),
        _ratio("calibration", 1, models, _promised, "no label is positive", POSITIVE),
    ]
    if parts.is_grouped:
        measures.append(_ratio("GAUC", 1, models, _ordered, "no group has both labels", SHARE))
    return measures


def difference_measures(parts: Spilled, threshold: float, top_k: int) -> list[Measure]:
    """Return the forms of prediction difference; ranking forms need groups."""
    models = len(parts.files)
    pairs = models * (models - 1) // 2
    kernels: dict[str, Kernel] = {
        "relative PD": relative_difference,
        "absolute PD": absolute_difference,
        "logit PD": partial(logit_difference, edge=parts.resolution),
        "label churn": partial(side_difference, threshold=threshold),
    }
    forms: dict[str, Sums] = {
        name: partial(_pairwise, kernel=kernel) for name, kernel in kernels.items()
    }
    deviations: dict[str, Sums] = {
        "mean-deviation PD": partial(_deviation, relative=False),
        "relative mean-deviation PD": partial(_deviation, relative=True),
    }
    if parts.is_grouped:
        forms["swap rate"] = _swaps
        forms[f"top-{top_k} overlap"] = partial(_overlaps, k=top_k)
    ranges = {"relative PD": RELATIVE, "logit PD": POSITIVE}
    return [
        *(
            _ratio(name, 2, pairs, sums, NO_PAIRS, ranges.get(name, SHARE))
            for name, sums in forms.items()
        ),
        *(_ratio(name, 1, 1, sums, NO_ROWS, POSITIVE) for name, sums in deviations.items()),
    ]


def auc_units(parts: Spilled, histograms: Sequence[Histogram]) -> Units:
    """Return the AUC of each file; reads the parts again for the placement values."""
    models = len(histograms)
    moments = Moments(sums=models + 1)
    if not all(each.pairs > 0 for each in histograms):
        return moments.undefined(tuple(range(models)), 1, "all labels are the same")
    values = np.array([each.auc() for each in histograms])
    first = histograms[0]
    shares = 1 / first.negative.sum(), 1 / first.positive.sum()
    for rows in parts.rows():
        share = rows.weights * np.where(rows.labels == 1.0, shares[1], shares[0])
        influence = [
            np.bincount(
                rows.codes,
                (histogram.placements(bins_of(model), rows.labels) - value) * share,
                rows.groups,
            )
            for histogram, model, value in zip(histograms, rows.predictions, values, strict=True)
        ]
        moments.add(np.stack([*influence, _weight(rows)]))
    slopes = np.column_stack([np.eye(models), np.zeros(models)])
    return replace(moments.units(values, slopes, tuple(range(models)), 1), within=SHARE)


def _ratio(name: str, order: int, units: int, sums: Sums, undefined: str, within: Range) -> Measure:
    def finish(moments: Moments) -> Units:
        return moments.ratios(order, undefined)

    return Measure(
        name=name,
        order=order,
        sums=sums,
        moments=Moments(sums=units + 1),
        finish=finish,
        within=within,
    )


def _normalized_entropy(moments: Moments) -> Units:
    """Return normalized entropy, with derivatives by losses, positives and count."""
    *losses, positives, count = moments.first
    replicas = tuple(range(len(losses)))
    rate = positives / count
    if rate in (0.0, 1.0):
        return moments.undefined(replicas, 1, "all labels are the same")
    entropy = -(rate * np.log(rate) + (1 - rate) * np.log1p(-rate))
    values = np.array(losses) / count / entropy
    by_rate = -values / entropy * np.log((1 - rate) / rate)
    slopes = np.column_stack(
        [
            np.eye(len(losses)) / (count * entropy),
            by_rate / count,
            -(values + by_rate * rate) / count,
        ]
    )
    return moments.units(values, slopes, replicas, 1)


def _losses(rows: Rows, *, edge: float) -> Floats:
    losses = [_per_group(rows, log_losses(rows.labels, model, edge)) for model in rows.predictions]
    return np.stack([*losses, _weight(rows)])


def _losses_and_positives(rows: Rows, *, edge: float) -> Floats:
    return np.insert(_losses(rows, edge=edge), -1, _per_group(rows, rows.labels), axis=0)


def _promised(rows: Rows) -> Floats:
    promised = [_per_group(rows, model) for model in rows.predictions]
    return np.stack([*promised, _per_group(rows, rows.labels)])


def _ordered(rows: Rows) -> Floats:
    sums = np.zeros((len(rows.predictions) + 1, rows.groups))
    for number, model in enumerate(rows.predictions):
        auc, impressions = group_auc(rows.labels, model, rows.weights, groups=rows.codes)
        both = ~np.isnan(auc)
        sums[number, both] = auc[both] * impressions[both]
        sums[-1, both] = impressions[both]
    return sums


def _pairwise(rows: Rows, *, kernel: Kernel) -> Floats:
    pairs = combinations(rows.predictions, 2)
    return np.stack([*(_per_group(rows, kernel(p, q)) for p, q in pairs), _weight(rows)])


def _swaps(rows: Rows) -> Floats:
    swapped, pairs = group_swaps(rows.predictions, rows.weights, rows.codes, rows.groups)
    return np.vstack([swapped, pairs])


def _overlaps(rows: Rows, *, k: int) -> Floats:
    weight = _weight(rows) / np.bincount(rows.codes, minlength=rows.groups)
    return np.vstack([group_overlap(rows.predictions, rows.codes, rows.groups, k) * weight, weight])


def _deviation(rows: Rows, *, relative: bool) -> Floats:
    deviation = mean_deviation(rows.predictions, relative=relative)
    return np.stack([_per_group(rows, deviation), _weight(rows)])


def _per_group(rows: Rows, values: Floats) -> Floats:
    return np.asarray(np.bincount(rows.codes, values * rows.weights, rows.groups), np.float64)


def _weight(rows: Rows) -> Floats:
    return np.asarray(np.bincount(rows.codes, rows.weights, rows.groups), np.float64)
