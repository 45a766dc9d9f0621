"""Accuracy metrics of predictions, in numpy only.

All arguments have shape ``(N,)``: labels (0 or 1), predictions, non-negative weights (None: all 1),
and groups (integers or strings in any order). An undefined quantity (an AUC without negatives) is
NaN. Invalid input raises a ``ValueError`` that names the first invalid element. Ranking metrics
take any finite score and count a tie as half; the others need probabilities.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def log_loss(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Return the mean negative log-likelihood of the labels, in nats.

    Probabilities are clipped to one machine epsilon of their dtype from 0 and 1, as in
    scikit-learn: float32 logits beyond 17 round to a probability of exactly 1.

    >>> round(log_loss([1, 0], [0.8, 0.4]), 4)
    0.367
    """
    y, p, w = _checked(labels, predictions, weights, probabilities=True)
    return float(np.average(log_losses(y, p, resolution(predictions)), weights=w))


def normalized_entropy(
    labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None
) -> float:
    """Return the log loss divided by the entropy of the base rate (He et al. 2014).

    1 means no skill. The base rate is that of ``labels``; NaN if all labels are equal.

    >>> round(normalized_entropy([1, 0], [0.8, 0.4]), 4)
    0.5294
    """
    y, p, w = _checked(labels, predictions, weights, probabilities=True)
    rate = np.average(y, weights=w)
    if rate in (0.0, 1.0):
        return float("nan")
    loss = np.average(log_losses(y, p, resolution(predictions)), weights=w)
    return float(loss / -(rate * np.log(rate) + (1 - rate) * np.log1p(-rate)))


def calibration(
    labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None
) -> float:
    """Return the mean prediction divided by the mean label; above 1, predictions are too high.

    NaN if no label is positive.

    >>> round(calibration([1, 0], [0.8, 0.4]), 4)
    1.2
    """
    y, p, w = _checked(labels, predictions, weights, probabilities=True)
    positives = float(np.sum(y * w))
    return float(np.sum(p * w)) / positives if positives > 0 else float("nan")


def roc_auc(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Return the share of (positive, negative) pairs in correct order, ties counted as half.

    NaN if all labels are equal.

    >>> roc_auc([1, 0, 0], [0.8, 0.4, 0.8])
    0.75
    """
    y, p, w = _checked(labels, predictions, weights, probabilities=False)
    won, pairs = _ordered_pairs(y, p, w, np.zeros(len(y), np.int64), 1)
    return float(won[0] / pairs[0]) if pairs[0] > 0 else float("nan")


def pr_auc(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Return the average precision: precision at each threshold, weighted by the gain in recall.

    A step sum without interpolation; tied scores are one threshold. NaN without positives.

    >>> round(pr_auc([1, 0, 1], [0.8, 0.6, 0.4]), 4)
    0.8333
    """
    y, p, w = _checked(labels, predictions, weights, probabilities=False)
    order = np.argsort(-p)
    last_of_tie = np.append(np.flatnonzero(np.diff(p[order])), len(order) - 1)
    positives = np.cumsum((y * w)[order])[last_of_tie]
    retrieved = np.cumsum(w[order])[last_of_tie]
    if positives[-1] <= 0:
        return float("nan")
    # Thresholds above the first example of positive weight retrieve nothing.
    precision = np.divide(positives, retrieved, out=np.zeros_like(positives), where=retrieved > 0)
    return float(np.sum(np.diff(positives, prepend=0.0) * precision) / positives[-1])


def gauc(
    labels: ArrayLike,
    predictions: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    groups: ArrayLike,
) -> float:
    """Return the mean AUC of groups that have both labels, weighted by impressions.

    A group's impressions are the sum of its weights (Zhu et al. 2017). NaN if no group has both.

    >>> gauc([1, 0, 1, 0, 1], [0.9, 0.1, 0.2, 0.2, 0.7], groups=[1, 1, 2, 2, 2])
    0.85
    """
    auc, impressions = group_auc(labels, predictions, weights, groups=groups)
    both = ~np.isnan(auc)
    return float(np.average(auc[both], weights=impressions[both])) if both.any() else float("nan")


def ranking_loss(
    labels: ArrayLike,
    predictions: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    groups: ArrayLike,
) -> float:
    """Return ``1 - gauc``: the share of pairs within a group in wrong order.

    >>> round(ranking_loss([1, 0, 1, 0, 1], [0.9, 0.1, 0.2, 0.2, 0.7], groups=[1, 1, 2, 2, 2]), 4)
    0.15
    """
    return 1.0 - gauc(labels, predictions, weights, groups=groups)


def group_auc(
    labels: ArrayLike,
    predictions: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    groups: ArrayLike,
) -> tuple[Floats, Floats]:
    """Return AUC and impressions of each group, ``(G,)`` each, groups sorted; AUC may be NaN."""
    y, p, w = _checked(labels, predictions, weights, probabilities=False)
    codes, count = group_codes(groups, len(y))
    won, pairs = _ordered_pairs(y, p, w, codes, count)
    auc = np.divide(won, pairs, out=np.full(count, np.nan), where=pairs > 0)
    return auc, _sums(codes, w, count)


def log_losses(labels: Floats, predictions: Floats, resolution: float) -> Floats:
    """Return the log loss of each example, with probabilities clipped to ``resolution``."""
    p = np.clip(predictions, resolution, 1.0 - resolution)
    return -np.log(np.where(labels == 1.0, p, 1.0 - p))


def resolution(predictions: ArrayLike) -> float:
    """Return the machine epsilon of the predictions' dtype; float64's for integers."""
    dtype = np.asarray(predictions).dtype
    return float(np.finfo(dtype if dtype.kind == "f" else np.float64).eps)


def group_codes(groups: ArrayLike, length: int) -> tuple[Integers, int]:
    """Return the index of each example's group in sorted order, and the number of groups."""
    g = np.asarray(groups)
    if g.shape != (length,):
        raise ValueError(f"groups has shape {g.shape}, expected ({length},)")
    if g.dtype.kind == "f" and not np.isfinite(g).all():
        row = int(np.flatnonzero(~np.isfinite(g))[0])
        raise ValueError(f"groups[{row}] is {g[row]}, expected an integer or a string")
    names, codes = np.unique(g, return_inverse=True)
    return codes.astype(np.int64, copy=False), len(names)


def _ordered_pairs(
    labels: Floats, scores: Floats, weights: Floats, codes: Integers, count: int
) -> tuple[Floats, Floats]:
    """Return the weights of correctly ordered pairs and of all pairs in each group, ``(G,)``."""
    # Twice as fast as np.lexsort: the first sort is vectorised, the second finds long runs.
    order = np.argsort(scores)
    order = order[np.argsort(codes[order], kind="stable")]
    group, score = codes[order], scores[order]
    opens_tie = np.empty(len(order), bool)
    opens_tie[0] = True
    opens_tie[1:] = (np.diff(group) != 0) | (np.diff(score) != 0)
    first = np.flatnonzero(opens_tie)
    positive = np.add.reduceat((weights * labels)[order], first)
    negative = np.add.reduceat((weights * (1.0 - labels))[order], first)
    tie_group = group[first]
    positives = _sums(tie_group, positive, count)
    negatives = _sums(tie_group, negative, count)
    before_group = np.cumsum(negatives) - negatives
    lower = np.cumsum(negative) - negative - before_group[tie_group]
    won = _sums(tie_group, positive * (lower + negative / 2.0), count)
    return won, positives * negatives


def _sums(codes: Integers, values: Floats, count: int) -> Floats:
    return np.asarray(np.bincount(codes, values, count), np.float64)


def _checked(
    labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None, *, probabilities: bool
) -> tuple[Floats, Floats, Floats]:
    """Return the three as float64 ``(N,)`` arrays, or raise ValueError."""
    y = _vector("labels", labels)
    p = _vector("predictions", predictions, len(y))
    w = np.ones(len(y)) if weights is None else _vector("weights", weights, len(y))
    if len(y) == 0:
        raise ValueError("labels is empty, expected at least one example")
    _refuse("labels", y, (y != 0.0) & (y != 1.0), "0 or 1")
    if probabilities:
        _refuse("predictions", p, ~((p >= 0.0) & (p <= 1.0)), "a probability from 0 to 1")
    else:
        _refuse("predictions", p, ~np.isfinite(p), "a finite score")
    _refuse("weights", w, ~((w >= 0.0) & np.isfinite(w)), "a finite weight of 0 or more")
    if not np.any(w > 0.0):
        raise ValueError("weights are all 0, expected at least one above 0")
    return y, p, w


def _vector(name: str, values: ArrayLike, length: int | None = None) -> Floats:
    try:
        vector = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} holds {np.asarray(values).dtype}, expected numbers") from None
    if vector.ndim != 1 or (length is not None and len(vector) != length):
        expected = "(N,)" if length is None else f"({length},)"
        raise ValueError(f"{name} has shape {vector.shape}, expected {expected}")
    return vector


def _refuse(name: str, values: Floats, bad: NDArray[np.bool_], expected: str) -> None:
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(f"{name}[{row}] is {values[row]:g}, expected {expected}")
