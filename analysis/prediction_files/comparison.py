"""Compares prediction files of any system: accuracy of each, and their prediction difference.

Everything is exact except the AUC, which is read from a fine histogram with an error bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from analysis.errors import ResultsError
from analysis.prediction_files.alignment import spilled
from analysis.prediction_files.measures import (
    Histogram,
    accuracy_measures,
    auc_units,
    bins_of,
    difference_measures,
)
from analysis.prediction_files.reading import open_predictions, with_common_keys
from analysis.statistics import intervals
from analysis.statistics.intervals import Interval, Units


@dataclass(frozen=True, kw_only=True, slots=True)
class Accuracy:
    """One metric of each file, with intervals over examples; differences are to the first file."""

    name: str
    each: tuple[Interval, ...]
    from_first: tuple[Interval, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One form of prediction difference: its mean over pairs of files, and the extreme pairs.

    If not ``is_of_pairs``, it is the deviation from the mean of all files, a single value.
    """

    name: str
    is_of_pairs: bool
    mean: Interval
    least: float
    most: float


@dataclass(frozen=True, kw_only=True, slots=True)
class FileComparison:
    """The comparison of prediction files.

    ``groups`` is 0 if the files have none; ``threshold`` is that of label churn; ``auc_error``
    bounds the error of an AUC.
    """

    paths: tuple[Path, ...]
    examples: int
    groups: int
    threshold: float
    accuracy: tuple[Accuracy, ...]
    differences: tuple[Difference, ...]
    auc_error: float


def compare_files(
    paths: Sequence[Path],
    *,
    top_k: int = 10,
    threshold: float | None = None,
    scratch: Path | None = None,
) -> FileComparison:
    """Compare two or more prediction files, in bounded memory and any row order.

    ``threshold`` is the base rate by default; ``scratch`` is the directory for temporary files.
    Three or more files are treated as replicas of one system, and intervals of differences cover
    other replicas; with two files they cover other examples only.

    Raises:
        ResultsError: a file or row is invalid, or the files have different examples.
    """
    if len(paths) < 2:
        raise ResultsError(f"{len(paths)} prediction file, expected two or more")
    files = with_common_keys([open_predictions(path) for path in paths])
    with spilled(files, scratch=scratch) as parts:
        cut = parts.base_rate if threshold is None else threshold
        accurate = accuracy_measures(parts)
        different = difference_measures(parts, cut, top_k)
        histograms = [Histogram.empty() for _ in files]
        for rows in parts.rows():
            for measure in (*accurate, *different):
                measure.add(rows)
            for histogram, model in zip(histograms, rows.predictions, strict=True):
                histogram.add(bins_of(model), rows.labels, rows.weights)
        auc = auc_units(parts, histograms)
    return FileComparison(
        paths=tuple(paths),
        examples=parts.examples,
        groups=accurate[0].moments.clusters if parts.is_grouped else 0,
        threshold=cut,
        accuracy=(
            *(_accuracy(each.name, each.units(), len(files)) for each in accurate),
            _accuracy("AUC", auc, len(files)),
        ),
        differences=tuple(_difference(each.name, each.units()) for each in different),
        auc_error=max(each.error_bound() for each in histograms) if not auc.reason else 0.0,
    )


def _accuracy(name: str, units: Units, files: int) -> Accuracy:
    alone = [_alone(units, number) for number in range(files)]
    return Accuracy(
        name=name,
        each=tuple(intervals.estimate(each) for each in alone),
        from_first=tuple(intervals.difference(each, alone[0]).interval for each in alone),
    )


def _alone(units: Units, number: int) -> Units:
    """Return one file's metric."""
    if units.reason:
        return units
    row = slice(number, number + 1)
    return replace(
        units, values=units.values[row], influence=units.influence[row], replicas=(number,)
    )


def _difference(name: str, units: Units) -> Difference:
    return Difference(
        name=name,
        is_of_pairs=units.order == 2,
        mean=intervals.estimate(units, positive=True),
        least=float(units.values.min()),
        most=float(units.values.max()),
    )
