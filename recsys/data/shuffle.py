"""Windowed shuffles: seeded, seekable, the same on every platform.

Row i of the stored order is sorted by ``i + U(0, width)``, so it moves by less than ``width``
positions. The draws are raw 64-bit words of NumPy's counter-based Philox generator, which are
stable over platforms and versions and random-access.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

Width = int | Literal["full"]

_WORDS_PER_COUNT = 4  # Philox 4x64 gives four words for each value of its counter


def order(length: int, start: int, stop: int, *, width: Width, seed: int) -> npt.NDArray[np.int64]:
    """Return the stored rows at positions ``start .. stop`` of the shuffled stream.

    Memory and time go with ``stop - start + 2 width``, so any position can be started at. Width 0
    keeps the stored order; ``"full"`` is a uniform permutation, whose memory goes with ``length``.
    Raises ValueError unless ``0 <= start <= stop <= length``, ``width >= 0`` and
    ``0 <= seed < 2**128``.

    >>> order(8, 0, 8, width=0, seed=1).tolist()
    [0, 1, 2, 3, 4, 5, 6, 7]
    >>> order(8, 2, 5, width="full", seed=1).tolist()
    [2, 7, 0]
    """
    if not 0 <= start <= stop <= length:
        raise ValueError(f"positions {start} to {stop} are not within 0 to {length}")
    if width == "full":
        return _permutation(length, seed)[start:stop]
    if width < 0:
        raise ValueError(f"shuffle width {width}: expected 0 or more, or 'full'")
    # Rows before `first` precede and rows from `last` on follow all positions that are asked for,
    # as no row moves by `width` places or more; so ranks among the rest differ by `first` alone.
    first, last = max(0, start - width), min(length, stop + width)
    rows = np.arange(first, last, dtype=np.int64)
    keys = rows + width * uniforms(first, last, seed=seed)
    return rows[np.argsort(keys, kind="stable")][start - first : stop - first]


def uniforms(start: int, stop: int, *, seed: int) -> npt.NDArray[np.float64]:
    """Return draws ``start .. stop`` of the seed's uniform numbers in [0, 1), float64."""
    return (_words(start, stop, seed) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _words(start: int, stop: int, seed: int) -> npt.NDArray[np.uint64]:
    """Return 64-bit words ``start .. stop`` of the seed's Philox stream."""
    count = start // _WORDS_PER_COUNT
    words = np.random.Philox(key=seed, counter=count).random_raw(stop - count * _WORDS_PER_COUNT)
    return np.asarray(words, np.uint64)[start - count * _WORDS_PER_COUNT :]


@lru_cache(maxsize=8)  # as many as replicas are trained side by side, who ask in turn
def _permutation(length: int, seed: int) -> npt.NDArray[np.int64]:
    """Return the full shuffle, read-only; cached, since a stream requests it window by window."""
    rows = np.argsort(_words(0, length, seed), kind="stable")
    rows.flags.writeable = False
    return rows
