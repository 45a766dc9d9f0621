"""Places for the names of points, so that they cover neither each other nor what is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FONT_SIZE = 11
#: Of a character, as a share of the font size: a little more than DejaVu Sans has on average.
CHARACTER = 0.62
LINE = 1.25
#: Distances to try, in pixels; from ``LEADER_FROM`` on a thin line leads back to the point.
DISTANCES = (9.0, 15.0, 24.0, 36.0, 50.0, 66.0, 84.0, 104.0)
LEADER_FROM = 20.0
ANGLES = np.deg2rad(np.arange(0, 360, 15))
ROUNDS = 4
#: Costs of covering a label (a square pixel), covering a mark, leaving the plot (a pixel) and of
#: distance to the point (a pixel).
LABEL, MARK, OUTSIDE, DISTANCE = 20.0, 40.0, 120.0, 5.0


def place_labels(texts: Sequence[str], anchors: Floats, marks: Floats, extent: Floats) -> Floats:
    """Return the offset ``(P, 2)`` of the middle of each text from its anchor, in pixels.

    ``anchors`` ``(P, 2)`` and ``marks`` ``(M, 2)``, which should not be covered, are pixels of a
    plot of width and height ``extent``. Each text in turn takes the best place given those of the
    others, a few rounds long.
    """
    sizes = label_sizes(texts)
    direction = np.array([(np.cos(angle), np.sin(angle)) for angle in ANGLES])
    choices = []
    for size in sizes:
        # The text's near edge, not its middle, lies at the distance.
        edge = np.sign(np.round(direction, 6)) * size / 2 * (np.abs(direction) > 0.3)
        choices.append(np.array([each * direction + edge for each in DISTANCES]).reshape(-1, 2))
    alone = [
        _cost_alone(anchor + offsets, size, marks, extent)
        + DISTANCE * np.repeat(DISTANCES, len(ANGLES))
        for anchor, offsets, size in zip(anchors, choices, sizes, strict=True)
    ]
    taken = np.array(
        [offsets[np.argmin(cost)] for offsets, cost in zip(choices, alone, strict=True)]
    )
    for _, number in product(range(ROUNDS), range(len(texts))):
        centres = anchors[number] + choices[number]
        others = np.arange(len(texts)) != number
        gap = np.abs(centres[:, None] - (anchors + taken)[others])
        overlap = (sizes[number] + sizes[others]) / 2 - gap
        covered = np.prod(np.maximum(overlap, 0.0), axis=2).sum(axis=1)
        taken[number] = choices[number][np.argmin(alone[number] + LABEL * covered)]
    return taken


def label_sizes(texts: Sequence[str]) -> Floats:
    """Return the estimated width and height of each text, with a margin, in pixels."""
    return np.array([(CHARACTER * FONT_SIZE * len(text) + 4, LINE * FONT_SIZE) for text in texts])


def _cost_alone(centres: Floats, size: Floats, marks: Floats, extent: Floats) -> Floats:
    inside = np.all(np.abs(marks - centres[:, None]) <= size / 2, axis=2).sum(axis=1)
    low, high = centres - size / 2, centres + size / 2
    outside = (np.maximum(-low, 0) + np.maximum(high - extent, 0)).sum(axis=1)
    return np.asarray(MARK * inside + OUTSIDE * outside, np.float64)
