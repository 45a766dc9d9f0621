"""Rows of a click log as arrays, in memory or memory-mapped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Bag:
    """One multi-valued feature of N rows: row n is ``values[offsets[n]:offsets[n + 1]]``.

    ``values`` is int32 [total], ``offsets`` int64 [N + 1], non-decreasing from 0.
    """

    values: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def take(self, positions: Positions) -> Bag:
        """Return the bags at ``positions`` (int64 [n]), in this order, with offsets from 0."""
        starts = self.offsets[positions]
        lengths = self.offsets[positions + 1] - starts
        offsets = np.zeros(len(positions) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        inside = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
        return Bag(values=self.values[np.repeat(starts, lengths) + inside], offsets=offsets)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """N rows: label float32 [N], dense float32 [N, D], ids int32 [N, T1], bags, group int64 [N].

    ``ids`` has a column per single-valued feature, ``bags`` an entry per multi-valued one, both in
    schema order.
    """

    label: npt.NDArray[np.float32]
    dense: npt.NDArray[np.float32]
    ids: npt.NDArray[np.int32]
    bags: Mapping[str, Bag]
    group: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.label)

    def take(self, positions: Positions) -> Rows:
        """Return the rows at ``positions`` (int64 [n]), in this order."""
        return Rows(
            label=self.label[positions],
            dense=self.dense[positions],
            ids=self.ids[positions],
            bags={name: bag.take(positions) for name, bag in self.bags.items()},
            group=self.group[positions],
        )
