"""Definitions spelled out as loops over pairs, for inputs small enough to afford them."""

from __future__ import annotations

import numpy as np


def brute_force_auc(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> float:
    """Return the weighted share of (positive, negative) pairs ordered rightly, a tie being half."""
    won = total = 0.0
    for i in np.flatnonzero(labels == 1):
        for j in np.flatnonzero(labels == 0):
            pair = weights[i] * weights[j]
            won += pair * (np.sign(scores[i] - scores[j]) + 1) / 2
            total += pair
    return won / total


def brute_force_swap_rate(
    predictions: np.ndarray, weights: np.ndarray, groups: np.ndarray
) -> float:
    """Return the weighted share of item pairs within groups that two models order differently."""
    swapped = total = 0.0
    models, examples = predictions.shape
    for a in range(examples):
        for b in range(a):
            if groups[a] != groups[b]:
                continue
            order = np.sign(predictions[:, a] - predictions[:, b])
            for i in range(models):
                for j in range(i):
                    swapped += weights[a] * weights[b] * abs(order[i] - order[j]) / 2
                    total += weights[a] * weights[b]
    return swapped / total if total else np.nan


def brute_force_overlap(predictions: np.ndarray, groups: np.ndarray, k: int) -> float:
    """Return the mean Jaccard index of models' top-k sets, equal scores in stored order."""
    indices = []
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        tops = [set(rows[np.argsort(-model[rows], kind="stable")[:k]]) for model in predictions]
        for i in range(len(tops)):
            indices += [len(tops[i] & top) / len(tops[i] | top) for top in tops[:i]]
    return float(np.mean(indices))
