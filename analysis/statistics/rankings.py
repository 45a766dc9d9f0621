"""Differences between models in ranking the items of each group, without comparing all pairs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Scores = NDArray[np.floating]

#: Items handled together; whole groups that fit the cache count several times faster.
CHUNK = 1 << 17


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """Whole groups, concatenated: ``n`` items of ``k`` groups.

    ``rows`` are the items' positions in the input, ``group`` their group numbers below ``k``,
    ``start`` and ``size`` the offset and length of their group in the chunk, all ``(n,)``;
    ``codes`` ``(k,)`` are the group numbers in the input.
    """

    rows: Integers
    group: Integers
    start: Integers
    size: Integers
    codes: Integers


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranking:
    """Each item's rank in its group, 0 for the lowest score, ``(n,)``.

    ``along`` ranks equal scores in stored order, ``against`` in reverse order.
    """

    along: Integers
    against: Integers
    tied: bool


def group_swaps(
    scores: Scores, weights: Floats, codes: Integers, count: int
) -> tuple[Floats, Floats]:
    """Return swapped item pairs by model pair and group ``(M(M-1)/2, G)``, and all pairs ``(G,)``.

    ``scores`` is ``(M, N)``; ``weights`` and group numbers ``codes`` are ``(N,)``. Model pairs are
    in the order of ``itertools.combinations``. A pair of items has the product of their weights; if
    tied in one model only, it is half a swap. O(M² N log L) for groups of L items.
    """
    swapped = np.zeros((len(scores) * (len(scores) - 1) // 2, count))
    for chunk in _chunks(codes, count):
        rankings = [_ranking(model[chunk.rows], chunk) for model in scores]
        weight = weights[chunk.rows]
        for pair, (one, other) in enumerate(combinations(rankings, 2)):
            inverted = _inverted_pairs(one.along, other.along, weight, chunk)
            if one.tied or other.tied:
                # A pair tied in one model alone is inverted either along the stored order or
                # against it, and one tied in both models in neither: the mean makes it half.
                inverted += _inverted_pairs(one.against, other.against, weight, chunk)
                inverted /= 2.0
            swapped[pair, chunk.codes] = inverted
    sizes = np.bincount(codes, minlength=count)
    squares = np.bincount(codes, weights**2, count)
    pairs = np.where(sizes > 1, (np.bincount(codes, weights, count) ** 2 - squares) / 2.0, 0.0)
    return swapped, pairs


def group_overlap(scores: Scores, codes: Integers, count: int, k: int) -> Floats:
    """Return the Jaccard index of the top k by model pair and group, ``(M(M-1)/2, G)``.

    Ties are in stored order; a group of at most k items has 1.
    """
    overlap = np.ones((len(scores) * (len(scores) - 1) // 2, count))
    for chunk in _chunks(codes, count):
        rankings = [_ranking(model[chunk.rows], chunk) for model in scores]
        # The best comes last, so the first of equals is the last of a ranking against the order.
        best = [chunk.size - ranking.against <= k for ranking in rankings]
        taken = np.minimum(np.bincount(chunk.group), k)
        for pair, (one, other) in enumerate(combinations(best, 2)):
            both = np.bincount(chunk.group[one & other], minlength=len(chunk.codes))
            overlap[pair, chunk.codes] = both / (2 * taken - both)
    return overlap


def _chunks(codes: Integers, count: int) -> Iterator[Chunk]:
    """Yield the groups of two or more items, small ones first, in chunks of about CHUNK items."""
    sizes = np.bincount(codes, minlength=count)
    by_size = np.argsort(sizes, kind="stable")
    place = np.empty(count, np.int64)
    place[by_size] = np.arange(count)
    rows = np.argsort(place[codes], kind="stable")
    ends = np.cumsum(sizes[by_size])
    first = int(np.searchsorted(sizes[by_size], 2))
    while first < count:
        offset = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, offset + CHUNK, side="right")))
        inside = sizes[by_size[first:last]]
        group = np.repeat(np.arange(last - first), inside)
        yield Chunk(
            rows=rows[offset : ends[last - 1]],
            group=group,
            start=(np.cumsum(inside) - inside)[group],
            size=inside[group],
            codes=by_size[first:last],
        )
        first = last


def _ranking(score: Scores, chunk: Chunk) -> Ranking:
    order = np.argsort(score, kind="stable")
    order = order[np.argsort(chunk.group[order], kind="stable")]
    place = np.arange(len(order))
    ordered = score[order]
    opens = np.ones(len(order), bool)
    opens[1:] = (ordered[1:] != ordered[:-1]) | (chunk.group[1:] != chunk.group[:-1])
    tied = not opens.all()
    along = np.empty_like(order)
    along[order] = place - chunk.start
    if not tied:
        return Ranking(along=along, against=along, tied=False)
    first = np.flatnonzero(opens)
    length = np.diff(first, append=len(order))
    against = np.empty_like(order)
    against[order] = np.repeat(2 * first + length - 1, length) - place - chunk.start
    return Ranking(along=along, against=against, tied=True)


def _inverted_pairs(one: Integers, other: Integers, weights: Floats, chunk: Chunk) -> Floats:
    """Return the weight of item pairs in different order in the two rankings, ``(k,)``.

    A radix sort from the highest bit of the second ranking: in a block of items that agree in the
    higher bits, each item with bit 0 overtakes the preceding ones with bit 1. Ranks of a group are
    0, 1, …, so a block starts at the position of its smallest rank.
    """
    start = chunk.start
    rank = np.empty_like(other)
    weight = np.empty_like(weights)
    rank[start + one] = other
    weight[start + one] = weights
    inverted = np.zeros(len(rank))
    here = np.arange(len(rank))
    for bit in range(int(chunk.size.max() - 1).bit_length() - 1, -1, -1):
        block = start + (rank >> (bit + 1) << (bit + 1))
        high = (rank >> bit & 1).astype(bool)
        passed = np.cumsum(high) - high
        passed -= passed[block]
        heavy = weight * high
        before = np.cumsum(heavy) - heavy
        inverted += np.where(high, 0.0, weight * (before - before[block]))
        place = np.where(high, block + (1 << bit) + passed, here - passed)
        rank[place], weight[place] = rank.copy(), weight.copy()
    return np.asarray(np.bincount(chunk.group, inverted), np.float64)
