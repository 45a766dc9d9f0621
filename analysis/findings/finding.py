"""A finding: one experiment's table, figure and reading."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from matplotlib.figure import Figure

from analysis.errors import ResultsError
from analysis.intervals import Interval
from analysis.results import ArmResults, SweepResults
from analysis.summary import Estimates, measure


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """What is printed, cell by cell; the first column is text, all others are numbers."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """Return the table in Markdown."""
        rule = ("---", *("---:" for _ in self.headings[1:]))
        return "\n".join(f"| {' | '.join(row)} |" for row in (self.headings, rule, *self.rows))


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What an experiment asks, and what came out.

    ``verdict`` says in a sentence or two whether that is for or against the paper, ``reading`` the
    rest, paragraph by paragraph.
    """

    title: str
    question: str
    table: Table
    figure: Figure
    caption: str
    verdict: str
    reading: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """The arms of a sweep by name, and what each was measured to do."""

    arms: Mapping[str, ArmResults]
    estimates: Mapping[str, Estimates]

    def __getitem__(self, name: str) -> Estimates:
        if name not in self.estimates:
            raise ResultsError(
                f"no arm {name}, expected one of those trained: {', '.join(self.estimates)}"
            )
        return self.estimates[name]


def measured(sweep: SweepResults) -> Measured:
    """Measure every arm of a sweep.

    Raises:
        ResultsError: an arm misses trials, so that the reading would not be of the experiment.
    """
    for arm in sweep.arms:
        if arm.missing:
            raise ResultsError(
                f"{sweep.directory}: {arm.name} misses {arm.missing} of {arm.planned} trials, "
                "expected all"
            )
    return Measured(
        arms={arm.name: arm for arm in sweep.arms},
        estimates={arm.name: measure(arm) for arm in sweep.arms},
    )


def settled_above(interval: Interval, value: float) -> bool:
    """Tell whether an interval that covers replicas lies above ``value``."""
    return interval.covers_replicas and interval.low > value


def settled_below(interval: Interval, value: float) -> bool:
    """Tell whether an interval that covers replicas lies below ``value``."""
    return interval.covers_replicas and interval.high < value
