"""Facts about a click log that decide whether a study on it is meaningful."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.data.click_log import ClickLog

_CHUNK_ROWS = 1 << 18
_LARGE = 1000.0
"""An input of this size saturates a network whose other inputs are about 1"""
_MOSTLY = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class DenseRange:
    """Minimum, maximum and skewness (the third standardised moment) of a dense feature."""

    low: float
    high: float
    skew: float


def dense_ranges(log: ClickLog, split: str) -> dict[str, DenseRange]:
    """Return the range of each dense feature in a split; skew is NaN for constant features."""
    names = log.schema.dense
    if not names or not log.splits[split]:
        return {}
    chunks = [log.dense[rows] for rows in _chunks(log.splits[split])]
    count = len(log.splits[split])
    low = np.min([chunk.min(0) for chunk in chunks], 0)
    high = np.max([chunk.max(0) for chunk in chunks], 0)
    mean = sum(chunk.sum(0, dtype=np.float64) for chunk in chunks) / count
    square, cube = np.zeros(len(names)), np.zeros(len(names))
    for chunk in chunks:
        centred = chunk - mean
        square += (centred**2).sum(0)
        cube += (centred**3).sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        skew = (cube / count) / (square / count) ** 1.5
    return {
        name: DenseRange(low=float(low[i]), high=float(high[i]), skew=float(skew[i]))
        for i, name in enumerate(names)
    }


def unknown_shares(log: ClickLog, split: str) -> dict[str, float]:
    """Return each sparse feature's share of values in row 0 (missing or unknown) in a split."""
    rows = log.splits[split]
    if not rows:
        return {}
    zeros = sum((log.ids[part] == 0).sum(0) for part in _chunks(rows))
    shares = {
        feature.name: float(zeros[i]) / len(rows)
        for i, feature in enumerate(log.schema.single_valued)
    }
    for name, bag in log.bags.items():
        values = bag.values[bag.offsets[rows.start] : bag.offsets[rows.stop]]
        shares[name] = float((values == 0).mean()) if len(values) else math.nan
    return shares


def unseen_groups(log: ClickLog, split: str = "test") -> float:
    """Return the share of a split's groups that do not occur in training; NaN without groups."""
    rows = log.splits[split]
    if log.schema.group is None or not rows:
        return math.nan
    return float((~np.isin(_groups(log, split), _groups(log, "train"))).mean())


def warnings_of(log: ClickLog) -> Iterator[str]:
    """Yield one line for each property that makes a study misleading."""
    for name, found in dense_ranges(log, "train").items():
        largest = max(abs(found.low), abs(found.high))
        if largest >= _LARGE:
            yield (
                f"dense feature {name} reaches {largest:.3g}: unscaled values dominate the "
                "network; in a schema, use log: true"
            )
    for name, share in unknown_shares(log, "test").items():
        if share > _MOSTLY:
            yield f"feature {name}: {100 * share:.0f} % of the test values are unknown or missing"
    share = unseen_groups(log)
    if share > _MOSTLY:
        yield (
            f"{100 * share:.0f} % of the test groups ({log.schema.group}) do not occur in "
            "training; --split fraction keeps groups in training"
        )


def _groups(log: ClickLog, split: str) -> NDArray[np.int64]:
    rows = log.splits[split]
    return np.unique(log.group[rows.start : rows.stop])


def _chunks(rows: range) -> Iterator[slice]:
    for start in range(rows.start, rows.stop, _CHUNK_ROWS):
        yield slice(start, min(start + _CHUNK_ROWS, rows.stop))
