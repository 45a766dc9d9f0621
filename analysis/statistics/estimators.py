"""The metrics as units: per-model or per-pair values with the influence of each cluster.

Clusters are the groups of examples. Formulas of the metrics: ``recsys/metrics.py`` and
``analysis/prediction_difference.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from analysis.prediction_difference import relative_difference
from analysis.statistics.intervals import SINGLE_GROUP, Units
from analysis.statistics.rankings import group_swaps
from recsys.metrics import group_auc, group_codes, log_losses

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Estimator = Callable[["Sample"], Units]
Range = tuple[float, float]

POSITIVE: Range = (0.0, math.inf)
SHARE: Range = (0.0, 1.0)
#: A relative difference is largest where one of two predictions is 0.
RELATIVE: Range = (0.0, 2.0)

ALL_POSITIVE_IN_ONE = "all positive labels lie in one group of examples"
ALL_NEGATIVE_IN_ONE = "all negative labels lie in one group of examples"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """Predictions of M replicas on the same N examples in G groups.

    ``labels`` is float64 ``(N,)`` of 0 and 1, ``predictions`` float64 ``(M, N)``, ``codes``
    ``(N,)`` the group numbers below ``groups``, ``replicas`` the replica numbers.
    """

    labels: Floats
    predictions: Floats
    codes: Integers
    groups: int
    replicas: tuple[int, ...]


def sample(
    labels: NDArray[np.floating],
    predictions: NDArray[np.floating],
    groups: NDArray[np.generic],
    replicas: tuple[int, ...] | None = None,
) -> Sample:
    """Return a ``Sample``; by default replicas are numbered from 0."""
    codes, count = group_codes(groups, len(labels))
    return Sample(
        labels=np.asarray(labels, np.float64),
        predictions=np.asarray(predictions, np.float64),
        codes=codes,
        groups=count,
        replicas=tuple(range(len(predictions))) if replicas is None else replicas,
    )


def log_loss(sample: Sample) -> Units:
    """Return the mean log loss of each model, in nats."""
    return _jackknife(sample, np.divide, _losses(sample), _sizes(sample), within=POSITIVE)


def normalized_entropy(sample: Sample) -> Units:
    """Return each model's log loss divided by the entropy of the base rate."""
    positives = _per_group(sample, sample.labels)

    def entropy_normalized(loss: Floats, positive: Floats, count: Floats) -> Floats:
        rate = positive / count
        return loss / count / -(rate * np.log(rate) + (1 - rate) * np.log1p(-rate))

    if sample.labels.min() == sample.labels.max():
        return _undefined(sample, 1, "all labels are the same")
    sums = (_losses(sample), positives, _sizes(sample))
    return _jackknife(
        sample, entropy_normalized, *sums, within=POSITIVE, unbounded=_one_sided(sample)
    )


def calibration(sample: Sample) -> Units:
    """Return each model's mean prediction divided by the mean label."""
    if not sample.labels.any():
        return _undefined(sample, 1, "no label is positive")
    promised = np.stack([_per_group(sample, model) for model in sample.predictions])
    positives = _per_group(sample, sample.labels)
    alone = ALL_POSITIVE_IN_ONE if np.count_nonzero(positives) == 1 else ""
    return _jackknife(sample, np.divide, promised, positives, within=POSITIVE, unbounded=alone)


def roc_auc(sample: Sample) -> Units:
    """Return the AUC of each model, with placement values as influence (Obuchowski 1997)."""
    positive = sample.labels == 1.0
    if positive.all() or not positive.any():
        return _undefined(sample, 1, "all labels are the same")
    placed = [_placements(model, positive) for model in sample.predictions]
    values = np.array([placement[positive].mean() for placement in placed])
    share = np.where(positive, 1 / positive.sum(), 1 / (~positive).sum())
    influence = np.stack(
        [
            _per_group(sample, (placement - value) * share)
            for placement, value in zip(placed, values, strict=True)
        ]
    )
    scale = np.sqrt(sample.groups / max(sample.groups - 1, 1))
    return _units(
        sample,
        values,
        influence * scale,
        _sizes(sample),
        within=SHARE,
        unbounded=_one_sided(sample),
    )


def gauc(sample: Sample) -> Units:
    """Return the GAUC of each model."""
    return _gauc(sample, np.divide)


def ranking_loss(sample: Sample) -> Units:
    """Return ``1 - GAUC`` of each model."""
    return _gauc(sample, lambda won, total: 1.0 - won / total)


def relative_pd(sample: Sample) -> Units:
    """Return the relative PD of each pair of models."""
    if len(sample.predictions) < 2:
        return _undefined(sample, 2, "needs at least two replicas")
    differences = np.stack(
        [
            _per_group(sample, relative_difference(p, q))
            for p, q in combinations(sample.predictions, 2)
        ]
    )
    return _jackknife(sample, np.divide, differences, _sizes(sample), order=2, within=RELATIVE)


def swap_rate(sample: Sample) -> Units:
    """Return the swap rate of each pair of models."""
    if len(sample.predictions) < 2:
        return _undefined(sample, 2, "needs at least two replicas")
    ones = np.ones(len(sample.labels))
    swapped, pairs = group_swaps(sample.predictions, ones, sample.codes, sample.groups)
    if not pairs.any():
        return _undefined(sample, 2, "no group has two examples")
    alone = "only one group has two examples" if np.count_nonzero(pairs) == 1 else ""
    return _jackknife(sample, np.divide, swapped, pairs, order=2, within=SHARE, unbounded=alone)


def _gauc(sample: Sample, statistic: Callable[[Floats, Floats], Floats]) -> Units:
    won = np.zeros((len(sample.predictions), sample.groups))
    impressions = np.zeros(sample.groups)
    for model, predictions in enumerate(sample.predictions):
        auc, size = group_auc(sample.labels, predictions, groups=sample.codes)
        both = ~np.isnan(auc)
        won[model, both] = auc[both] * size[both]
        impressions[both] = size[both]
    if not impressions.any():
        return _undefined(sample, 1, "no group has both labels")
    alone = "only one group has both labels" if np.count_nonzero(impressions) == 1 else ""
    return _jackknife(sample, statistic, won, impressions, within=SHARE, unbounded=alone)


def _one_sided(sample: Sample) -> str:
    """Return why a metric is undefined without one of the groups; empty if it is defined."""
    positives = _per_group(sample, sample.labels)
    if np.count_nonzero(positives) == 1:
        return ALL_POSITIVE_IN_ONE
    return ALL_NEGATIVE_IN_ONE if np.count_nonzero(_sizes(sample) - positives) == 1 else ""


def _jackknife(
    sample: Sample,
    statistic: Callable[..., Floats],
    *sums: Floats,
    within: Range,
    order: int = 1,
    unbounded: str = "",
) -> Units:
    """Return the units of a statistic of sums over groups, ``(U, G)`` or ``(G,)`` each.

    The last of ``sums`` is the denominator. ``unbounded`` is the reason if the statistic is
    undefined without one of the groups, so that it has no influence.
    """
    totals = [np.asarray(each.sum(axis=-1)) for each in sums]
    values = statistic(*totals)
    if unbounded:
        influence = np.zeros((len(values), sample.groups))
        return _units(sample, values, influence, sums[-1], within, order, unbounded)
    with np.errstate(divide="ignore", invalid="ignore"):
        without = statistic(
            *[total[..., None] - each for total, each in zip(totals, sums, strict=True)]
        )
    counting = int(np.count_nonzero(np.any(np.vstack(sums), axis=0)))
    influence = (values[:, None] - without) * np.sqrt((counting - 1) / counting)
    return _units(sample, values, influence, sums[-1], within, order)


def _units(
    sample: Sample,
    values: Floats,
    influence: Floats,
    weight: Floats,
    within: Range,
    order: int = 1,
    unbounded: str = "",
) -> Units:
    return Units(
        values=values,
        influence=influence,
        replicas=sample.replicas,
        order=order,
        clusters=float(weight.sum() ** 2 / (weight**2).sum()),
        within=within,
        unbounded=SINGLE_GROUP if sample.groups == 1 else unbounded,
    )


def _undefined(sample: Sample, order: int, reason: str) -> Units:
    return Units(
        values=np.full(1, np.nan),
        influence=np.zeros((1, sample.groups)),
        replicas=sample.replicas,
        order=order,
        clusters=0.0,
        reason=reason,
    )


def _placements(scores: Floats, positive: NDArray[np.bool_]) -> Floats:
    """Return for each example the share of the other label's examples in correct order."""
    below = np.sort(scores[~positive])
    above = np.sort(scores[positive])
    placement = np.empty(len(scores))
    won = np.searchsorted(below, scores[positive], "left")
    won = won + np.searchsorted(below, scores[positive], "right")
    placement[positive] = won / (2 * len(below))
    lost = np.searchsorted(above, scores[~positive], "left")
    lost = lost + np.searchsorted(above, scores[~positive], "right")
    placement[~positive] = 1.0 - lost / (2 * len(above))
    return placement


def _losses(sample: Sample) -> Floats:
    edge = float(np.finfo(np.float64).eps)
    return np.stack(
        [_per_group(sample, log_losses(sample.labels, model, edge)) for model in sample.predictions]
    )


def _sizes(sample: Sample) -> Floats:
    return np.bincount(sample.codes, minlength=sample.groups).astype(np.float64)


def _per_group(sample: Sample, values: Floats) -> Floats:
    return np.asarray(np.bincount(sample.codes, values, sample.groups), np.float64)
