"""Relative PD by slice: predicted score, activity of the group, popularity of the item."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.errors import ResultsError
from analysis.results.files import column_titles, read_table
from analysis.results.reading import Predictions, SweepResults
from analysis.statistics import estimators, intervals
from analysis.statistics.intervals import Interval

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

SLICES = "slices.parquet"
GROUP = "group_examples"
ITEM = "item_examples"
DECILES = 10
#: Parts that counts are cut into, as evenly as their ties allow.
PARTS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Slicing:
    """A partition of the examples: each one's part, ``(N,)``, and the parts' titles."""

    title: str
    labels: tuple[str, ...]
    part: Integers


@dataclass(frozen=True, kw_only=True, slots=True)
class Missing:
    """A slicing that is not available, and why."""

    title: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Sliced:
    """The relative PD of each arm in each part of a slicing."""

    slicing: Slicing
    relative_pd: dict[str, tuple[Interval, ...]]


def slice_sweep(sweep: SweepResults) -> tuple[Sliced | Missing, ...]:
    """Return relative PD by slice for all arms with two finished replicas and finite predictions.

    All arms use the same slices: by the baseline's mean prediction, and by how often group and item
    occur in the training split (``slices.parquet``).

    Raises:
        ResultsError: a file is invalid.
    """
    arms = [arm for arm in sweep.arms if len(arm.done) > 1 and not arm.read_predictions().diverged]
    if not arms:
        return (Missing(title="slices", reason="no arm has two finished replicas"),)
    reference = sweep.baseline if sweep.baseline in arms else arms[0]
    cuts = tuple(_slicings(sweep.directory, reference.read_predictions()))
    found: dict[str, dict[str, tuple[Interval, ...]]] = defaultdict(dict)
    for arm in arms:
        predictions = arm.read_predictions()
        for each in cuts:
            if isinstance(each, Slicing):
                found[each.title][arm.name] = by_slice(predictions, each)
    return tuple(
        each if isinstance(each, Missing) else Sliced(slicing=each, relative_pd=found[each.title])
        for each in cuts
    )


def by_slice(predictions: Predictions, slicing: Slicing) -> tuple[Interval, ...]:
    """Return the relative PD of each part, over all pairs of replicas."""
    found = []
    for part in range(len(slicing.labels)):
        rows = slicing.part == part
        sample = estimators.sample(
            predictions.labels[rows],
            predictions.probabilities[:, rows],
            predictions.group[rows],
            predictions.replicas,
        )
        found.append(intervals.estimate(estimators.relative_pd(sample), positive=True))
    return tuple(found)


def by_score(predictions: Predictions) -> Slicing:
    """Partition the examples into ten parts of equal size by mean prediction."""
    mean = predictions.probabilities.mean(axis=0)
    tenths = np.array_split(np.argsort(mean, kind="stable"), min(DECILES, len(mean)))
    part = np.empty(len(mean), np.int64)
    for number, rows in enumerate(tenths):
        part[rows] = number
    return Slicing(
        title="predicted score",
        labels=tuple(f"{mean[rows[0]]:.2g}–{mean[rows[-1]]:.2g}" for rows in tenths),
        part=part,
    )


def by_count(title: str, counts: Integers) -> Slicing:
    """Partition the examples into at most five parts by count; equal counts stay together."""
    edges = np.unique(np.quantile(counts, np.arange(1, PARTS) / PARTS, method="lower"))
    edges = edges[edges < counts.max()]
    part = np.searchsorted(edges, counts, side="left")
    spans = [counts[part == number] for number in range(len(edges) + 1)]
    return Slicing(title=title, labels=tuple(_span(each) for each in spans), part=part)


def _slicings(directory: Path, reference: Predictions) -> Iterator[Slicing | Missing]:
    yield by_score(reference)
    path = directory / SLICES
    if not path.exists():
        reason = (
            f"this sweep has no {SLICES}, which a sweep writes; run the same `soloist sweep` "
            "command again, it trains no trial twice"
        )
        yield Missing(title="activity of the user", reason=reason)
        yield Missing(title="popularity of the item", reason=reason)
        return
    names = {name: told for name, told in column_titles(path).items() if name in (GROUP, ITEM)}
    table = _read(path, reference.example, tuple(names))
    if GROUP in names:
        yield by_count(f"training examples of the {names[GROUP]}", table[GROUP].to_numpy())
    else:
        reason = "the click log has no groups, such as users"
        yield Missing(title="activity of the user", reason=reason)
    if ITEM in names:
        yield by_count(f"training examples of the {names[ITEM]} shown", table[ITEM].to_numpy())
    else:
        reason = "the experiment does not name the feature that holds the item: data.item"
        yield Missing(title="popularity of the item", reason=reason)


def _read(path: Path, examples: Integers, counts: tuple[str, ...]) -> pd.DataFrame:
    """Return the count columns, a row for each of ``examples``."""
    table = read_table(path, ("example", *counts)).set_index("example")
    if not np.isin(examples, table.index).all():
        raise ResultsError(f"{path}: example: lacks examples of the trials' evaluation")
    return table.loc[examples]


def _span(counts: Integers) -> str:
    low, high = int(counts.min()), int(counts.max())
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"
