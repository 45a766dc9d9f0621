"""Prediction difference (PD) of M models trained alike.

``predictions`` is ``(M, N)``, ``weights`` ``(N,)`` (None: all 1). Results are means over examples
and unordered pairs of models. ``groups`` is ``(N,)``, integers or strings in any order. Invalid
input raises ``ValueError``; an undefined result is NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.statistics.rankings import group_overlap, group_swaps
from recsys.metrics import group_codes, resolution

Floats = NDArray[np.float64]
Kernel = Callable[[Floats, Floats], Floats]

#: Columns turned into float64 at a time: pairs are compared within the cache, not through memory.
BLOCK = 1 << 16


def relative_pd(predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Return the mean of ``|p_i - p_j| / ((p_i + p_j) / 2)`` over examples and pairs; 0/0 is 0.

    A mean of ratios, from 0 to 2. For two models it is the ``SymmetricPredictionDifference`` of
    TensorFlow Model Analysis.

    >>> round(relative_pd([[0.2, 0.5], [0.3, 0.5]]), 4)
    0.2
    """
    return _mean_over_pairs(predictions, weights, relative_difference)


def absolute_pd(predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Return the mean of ``|p_i - p_j|`` over examples and pairs.

    >>> round(absolute_pd([[0.2, 0.5], [0.3, 0.5]]), 4)
    0.05
    """
    return _mean_over_pairs(predictions, weights, absolute_difference)


def logit_pd(predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Return the mean of ``|logit p_i - logit p_j|`` over examples and pairs.

    Probabilities are clipped to one machine epsilon of their dtype from 0 and 1.

    >>> round(logit_pd([[0.2, 0.5], [0.5, 0.5]]), 4)
    0.6931
    """
    kernel = partial(logit_difference, edge=resolution(predictions))
    return _mean_over_pairs(predictions, weights, kernel)


def mean_deviation_pd(
    predictions: ArrayLike, weights: ArrayLike | None = None, *, relative: bool = False
) -> float:
    """Return the mean of ``|p_m - p̄|`` over examples and models, p̄ the models' mean.

    ``relative`` divides by p̄ (0/0 is 0). For two models this is half of ``absolute_pd``, and its
    relative form half of ``relative_pd``.

    >>> round(mean_deviation_pd([[0.2, 0.5], [0.3, 0.5]], relative=True), 4)
    0.1
    """
    p, w = checked(predictions, weights, models=1)
    total = 0.0
    for block, weight in _blocks(p, w):
        total += float(mean_deviation(block, relative=relative) @ weight)
    return total / float(w.sum())


def label_churn(
    predictions: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    labels: ArrayLike | None = None,
    threshold: float | None = None,
) -> float:
    """Return the share of examples that two models classify differently at ``threshold``.

    A prediction at the threshold is positive. The default threshold is the base rate: the mean of
    ``labels``, or the mean prediction without labels.

    >>> label_churn([[0.2, 0.6], [0.3, 0.4]], threshold=0.5)
    0.5
    """
    p, w = checked(predictions, weights)
    if threshold is None:
        known = p.mean(axis=0) if labels is None else np.asarray(labels, np.float64)
        if known.shape != w.shape:
            raise ValueError(f"labels has shape {known.shape}, expected {w.shape}")
        threshold = float(np.average(known, weights=w))

    return _mean_over_pairs(p, w, partial(side_difference, threshold=threshold))


def swap_rate(
    predictions: ArrayLike, weights: ArrayLike | None = None, *, groups: ArrayLike
) -> float:
    """Return the share of item pairs within a group that two models order differently.

    It is all swapped pairs divided by all pairs; with weights, a pair has the product of its items'
    weights. A pair tied in one model only is half a swap, tied in both none (Kendall's distance
    with penalty 1/2: Fagin et al. 2006, doi 10.1137/05063088X). NaN if no group has two items.
    Scores may be any finite numbers.

    >>> swap_rate([[0.1, 0.2, 0.3], [0.1, 0.3, 0.2]], groups=[1, 1, 1])
    0.3333333333333333
    """
    p, w = checked(predictions, weights, probabilities=False)
    codes, count = group_codes(groups, p.shape[1])
    swapped, pairs = group_swaps(p, w, codes, count)
    total = float(pairs.sum())
    return float(swapped.sum(axis=1).mean()) / total if total > 0 else float("nan")


def top_k_overlap(
    predictions: ArrayLike, weights: ArrayLike | None = None, *, groups: ArrayLike, k: int = 10
) -> float:
    """Return the mean Jaccard index of two models' top k items of a group.

    Groups have equal weight, or the mean weight of their items. Ties are in stored order. A group
    of at most k items has 1.

    >>> round(top_k_overlap([[0.1, 0.2, 0.3], [0.1, 0.3, 0.2]], groups=[1, 1, 1], k=1), 4)
    0.0
    """
    if k < 1:
        raise ValueError(f"k is {k}, expected at least 1")
    p, w = checked(predictions, weights, probabilities=False)
    codes, count = group_codes(groups, p.shape[1])
    overlap = group_overlap(p, codes, count, k)
    group_weight = np.bincount(codes, w, count) / np.bincount(codes, minlength=count)
    return float(np.average(overlap.mean(axis=0), weights=group_weight))


def relative_difference(p: Floats, q: Floats) -> Floats:
    """Return ``|p - q| / ((p + q) / 2)`` of each element; 0/0 is 0."""
    mean = (p + q) / 2.0
    return np.divide(np.abs(p - q), mean, out=np.zeros_like(mean), where=mean > 0)


def absolute_difference(p: Floats, q: Floats) -> Floats:
    """Return ``|p - q|`` of each element."""
    return np.abs(p - q)


def logit_difference(p: Floats, q: Floats, *, edge: float) -> Floats:
    """Return ``|logit p - logit q|`` elementwise, clipped ``edge`` from 0 and 1."""
    return np.abs(_logit(p, edge) - _logit(q, edge))


def side_difference(p: Floats, q: Floats, *, threshold: float) -> Floats:
    """Return 1 for elements on different sides of ``threshold``, else 0."""
    return ((p >= threshold) != (q >= threshold)).astype(np.float64)


def mean_deviation(predictions: Floats, *, relative: bool) -> Floats:
    """Return the mean over models of ``|p_m - p̄|``, ``(M, N)`` to ``(N,)``; or relative to p̄."""
    mean = predictions.mean(axis=0)
    deviation = np.abs(predictions - mean).mean(axis=0)
    if not relative:
        return np.asarray(deviation, np.float64)
    return np.divide(deviation, mean, out=np.zeros_like(mean), where=mean > 0)


def checked(
    predictions: ArrayLike,
    weights: ArrayLike | None,
    *,
    probabilities: bool = True,
    models: int = 2,
) -> tuple[NDArray[np.floating], Floats]:
    """Return predictions ``(M, N)`` and float64 weights ``(N,)``, or raise ValueError."""
    p = np.asarray(predictions)
    p = p if p.dtype.kind == "f" else p.astype(np.float64)
    if p.ndim != 2 or p.shape[0] < models or p.shape[1] < 1:
        raise ValueError(
            f"predictions has shape {p.shape}, expected (M, N) of at least {models} models"
        )
    for model, row in enumerate(p):
        bad = ~((row >= 0.0) & (row <= 1.0)) if probabilities else ~np.isfinite(row)
        if bad.any():
            first = int(np.argmax(bad))
            expected = "a probability from 0 to 1" if probabilities else "a finite score"
            raise ValueError(
                f"predictions[{model}, {first}] is {row[first]:g}, expected {expected}"
            )
    w = np.ones(p.shape[1]) if weights is None else np.asarray(weights, np.float64)
    if w.shape != p.shape[1:]:
        raise ValueError(f"weights has shape {w.shape}, expected {p.shape[1:]}")
    if not (np.isfinite(w).all() and (w >= 0).all() and w.any()):
        raise ValueError("weights must be finite and 0 or more, and not all 0")
    return p, w


def _mean_over_pairs(predictions: ArrayLike, weights: ArrayLike | None, kernel: Kernel) -> float:
    p, w = checked(predictions, weights)
    pairs = list(combinations(range(len(p)), 2))
    total = sum(
        float(kernel(block[i], block[j]) @ weight)
        for block, weight in _blocks(p, w)
        for i, j in pairs
    )
    return total / (len(pairs) * float(w.sum()))


def _blocks(p: NDArray[np.floating], w: Floats) -> Iterator[tuple[Floats, Floats]]:
    for start in range(0, len(w), BLOCK):
        stop = start + BLOCK
        yield p[:, start:stop].astype(np.float64), w[start:stop]


def _logit(p: Floats, edge: float) -> Floats:
    held = np.clip(p, edge, 1.0 - edge)
    return np.log(held) - np.log1p(-held)
