"""Comparisons of a study's arms, corrected for multiplicity."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from analysis import text
from analysis.errors import ResultsError
from analysis.results.phrases import joined
from analysis.results.reading import SweepResults
from analysis.results.study_design import StudyDesign, StudyPoint
from analysis.results.summary import Estimates, measure
from analysis.results.tables import bracketed, percent, plus_minus
from analysis.statistics import intervals
from analysis.statistics.intervals import CONFIDENCE, FEWEST_REPLICAS, Comparison, Interval

#: A slope through two points is not a trend.
FEWEST_OF_TREND = 3


class Outcome(StrEnum):
    """Result of a test; for PD and log loss, lower is better."""

    LOWER = "significantly lower"
    HIGHER = "significantly higher"
    OPEN = "not significantly different"
    UNTESTED = "not tested"


@dataclass(frozen=True, kw_only=True, slots=True)
class AdjustedTest:
    """A comparison with its p-value adjusted for the comparisons of its kind."""

    comparison: Comparison
    p_value: float
    none: float

    @property
    def outcome(self) -> Outcome:
        """The result at 5 %."""
        if math.isnan(self.p_value):
            return Outcome.UNTESTED
        if self.p_value > 1 - CONFIDENCE:
            return Outcome.OPEN
        return Outcome.LOWER if self.comparison.interval.value < self.none else Outcome.HIGHER


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredPoint:
    """An arm of a study, with ratio and difference to its reference."""

    point: StudyPoint
    relative_pd: Interval
    log_loss: Interval
    relative_pd_ratio: AdjustedTest | None
    log_loss_difference: AdjustedTest | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """Measurements; ``trends`` are slopes of log PD on log x by series."""

    design: StudyDesign
    points: tuple[MeasuredPoint, ...]
    trends: Mapping[str, AdjustedTest]


def measure_study(sweep: SweepResults) -> Study | None:
    """Compare every arm of a sweep's study with its reference; None without a study.

    Reads the predictions again, one series and its references at a time. Holm's correction is
    applied separately to PD, log loss and trends.

    Raises:
        ResultsError: the study names a missing arm, or a trial is invalid.
    """
    design = sweep.study
    if design is None:
        return None
    measured: list[tuple[StudyPoint, Interval, Interval]] = []
    compared: list[tuple[Comparison | None, Comparison | None]] = []
    slopes: dict[str, Comparison] = {}
    for series in design.series:
        points = [point for point in design.points if point.series == series]
        found = _estimates(sweep, points)
        own = [found[point.arm] for point in points]
        references = [found[point.reference] if point.reference else None for point in points]
        for point, arm, other in zip(points, own, references, strict=True):
            relative_pd = intervals.estimate(arm.relative_pd, positive=True)
            measured.append((point, relative_pd, intervals.estimate(arm.log_loss)))
            if other is None:
                compared.append((None, None))
                continue
            ratio = intervals.ratio(arm.relative_pd, other.relative_pd)
            compared.append((ratio, intervals.difference(arm.log_loss, other.log_loss)))
        trend = slope(points, own)
        if trend is not None:
            slopes[series] = trend
    ratios = _tests([ratio for ratio, _ in compared], none=1.0)
    differences = _tests([difference for _, difference in compared], none=0.0)
    return Study(
        design=design,
        points=tuple(
            MeasuredPoint(
                point=point,
                relative_pd=relative_pd,
                log_loss=log_loss,
                relative_pd_ratio=ratio,
                log_loss_difference=difference,
            )
            for (point, relative_pd, log_loss), ratio, difference in zip(
                measured, ratios, differences, strict=True
            )
        ),
        trends={
            series: test
            for series, test in zip(slopes, _tests(list(slopes.values()), none=0.0), strict=True)
            if test is not None
        },
    )


def reading(study: Study) -> tuple[str, ...]:
    """Return the conclusion as text, one or two sentences for each quantity."""
    sentences = [
        _reading_of(study, "Relative PD", "ratios", 2, [p.relative_pd_ratio for p in study.points]),
        _reading_of(
            study, "Log loss", "differences", 4, [p.log_loss_difference for p in study.points]
        ),
        _trends(study),
        _untested(study),
    ]
    return tuple(sentence for sentence in sentences if sentence)


def table(study: Study) -> tuple[tuple[str, ...], ...]:
    """Return the numbers of every point; the first row is the header."""
    reference = study.design.reference
    headings = (
        "series",
        study.design.x,
        "replicas",
        "relative PD",
        f"ratio to {reference}",
        "p of ratio (Holm)",
        "log loss",
        f"difference from {reference}",
        "p of difference (Holm)",
    )
    return headings, *(
        (
            each.point.series,
            shown(each.point.x),
            str(each.log_loss.replicas),
            percent(each.relative_pd),
            *_cells(each.relative_pd_ratio, 2),
            plus_minus(each.log_loss),
            *_cells(each.log_loss_difference, 4),
        )
        for each in study.points
    )


def slope(points: Sequence[StudyPoint], estimates: Sequence[Estimates]) -> Comparison | None:
    """Compare the least-squares slope of log PD on log x with 0; None unless x is positive."""
    scaled = [
        (math.log(point.x), each.relative_pd)
        for point, each in zip(points, estimates, strict=True)
        if isinstance(point.x, float) and point.x > 0 and each.relative_pd.mean > 0
    ]
    if len(scaled) < FEWEST_OF_TREND:
        return None
    x = np.array([each for each, _ in scaled])
    weights = (x - x.mean()) / np.sum((x - x.mean()) ** 2)
    value = sum(w * math.log(pd.mean) for w, (_, pd) in zip(weights, scaled, strict=True))
    return intervals.contrast(
        float(value),
        [(pd, float(w) / pd.mean) for w, (_, pd) in zip(weights, scaled, strict=True)],
    )


def as_markdown(study: Study, *, figure: str, command: str) -> str:
    """Return a section: question, figure, table, conclusion and command."""
    headings, *rows = table(study)
    rule = ("---",) * 2 + ("---:",) * (len(headings) - 2)
    cells = [[text.as_markdown(cell) for cell in row] for row in (headings, *rows)]
    cells.insert(1, list(rule))
    lines = [f"| {' | '.join(row)} |" for row in cells]
    question = text.as_markdown(study.design.question)
    parts = (
        f"## {question}",
        f"![{question}]({figure})",
        "\n".join(lines),
        text.as_markdown(" ".join(reading(study))),
        f"Made by `{command}`.",
    )
    return "\n\n".join(parts)


def shown(x: float | str | None) -> str:
    """Return an x value as text; empty for None."""
    return f"{x:g}" if isinstance(x, float) else x or ""


def _estimates(sweep: SweepResults, points: Sequence[StudyPoint]) -> dict[str, Estimates]:
    """Measure the arms of points and their references, each once."""
    arms = {arm.name: arm for arm in sweep.arms}
    names = dict.fromkeys(name for p in points for name in (p.arm, p.reference) if name is not None)
    missing = [name for name in names if name not in arms]
    if missing:
        raise ResultsError(
            f"{sweep.directory}: the study names the arm {missing[0]!r}, expected one of"
            f" {', '.join(arms)}"
        )
    return {name: measure(arms[name]) for name in names}


def _tests(found: Sequence[Comparison | None], *, none: float) -> list[AdjustedTest | None]:
    """Adjust p-values for multiplicity."""
    adjusted = intervals.holm([each.p_value if each else math.nan for each in found])
    return [
        AdjustedTest(comparison=each, p_value=p_value, none=none) if each else None
        for each, p_value in zip(found, adjusted, strict=True)
    ]


def _cells(test: AdjustedTest | None, digits: int) -> tuple[str, str]:
    if test is None:
        return "", ""
    p_value = test.p_value
    known = "" if math.isnan(p_value) else "<0.001" if p_value < 0.001 else f"{p_value:.3f}"
    return bracketed(test.comparison.interval, digits).replace("-", "−"), known


def _reading_of(
    study: Study, name: str, unit: str, digits: int, tests: Sequence[AdjustedTest | None]
) -> str:
    by_outcome: dict[Outcome, list[tuple[MeasuredPoint, AdjustedTest]]] = {}
    for point, test in zip(study.points, tests, strict=True):
        if test is not None:
            by_outcome.setdefault(test.outcome, []).append((point, test))
    count = sum(len(each) for key, each in by_outcome.items() if key is not Outcome.UNTESTED)
    if not count:
        return ""
    clauses = [
        f"{outcome} for {_titles([point for point, _ in by_outcome[outcome]])}"
        for outcome in (Outcome.LOWER, Outcome.HIGHER)
        if outcome in by_outcome
    ]
    if Outcome.OPEN in by_outcome:
        found = [test.comparison.interval for _, test in by_outcome[Outcome.OPEN]]
        low, high = min(each.low for each in found), max(each.high for each in found)
        of_whom = f"the other {len(found)} of {count}" if clauses else f"any of {count}"
        span = f"{unit} between {low:.{digits}f} and {high:.{digits}f}".replace("-", "−")
        clauses.append(
            f"{Outcome.OPEN} for {of_whom}, whose unadjusted 95 % intervals allow {span}"
        )
    return (
        f"{name} compared with {_reference(study.design)}, at 5 % after Holm's correction over"
        f" {count} {'comparison' if count == 1 else 'comparisons'}: {'; '.join(clauses)}."
    )


def _reference(design: StudyDesign) -> str:
    is_arm = {point.reference for point in design.points} <= {design.reference, None}
    return design.reference if is_arm else f"{design.reference} at the same {design.x}"


def _titles(points: Sequence[MeasuredPoint]) -> str:
    """Return titles of points, grouped by series: ``smelu at 1 and 2, swish at 0.5``."""
    places: dict[str, list[str]] = {}
    for each in points:
        places.setdefault(each.point.series, []).append(shown(each.point.x))
    return ", ".join(
        joined(found) if not series else f"{series} at {joined(found)}" if any(found) else series
        for series, found in places.items()
    )


def _trends(study: Study) -> str:
    x, tests = study.design.x, study.trends
    by_outcome = {
        outcome: joined(
            [series or "all arms" for series in tests if tests[series].outcome is outcome]
        )
        for outcome in dict.fromkeys(test.outcome for test in tests.values())
    }
    clauses = [
        f"{words} for {by_outcome[outcome]}"
        for outcome, words in (
            (Outcome.LOWER, f"a significant fall with {x}"),
            (Outcome.HIGHER, f"a significant rise with {x}"),
            (Outcome.OPEN, f"no significant trend in {x}"),
        )
        if outcome in by_outcome
    ]
    if not clauses:
        return ""
    count = sum(test.outcome is not Outcome.UNTESTED for test in tests.values())
    corrected = f", at 5 % after Holm's correction over {count} series" if count > 1 else ""
    return f"Slope of log relative PD on log {x}{corrected}: {'; '.join(clauses)}."


def _untested(study: Study) -> str:
    """Return the points without a test, by reason."""
    reasons: dict[str, list[MeasuredPoint]] = {}
    for each in study.points:
        test, reference = each.relative_pd_ratio, study.design.reference
        if test is not None and test.outcome is Outcome.UNTESTED:
            few = f"fewer than {FEWEST_REPLICAS} replicas of an arm"
            reasons.setdefault(test.comparison.interval.reason or few, []).append(each)
        elif test is None and reference not in (each.point.arm, each.point.series):
            reasons.setdefault(f"{reference} has no arm there", []).append(each)
    listed = "; ".join(f"{_titles(points)} ({reason})" for reason, points in reasons.items())
    return f"PD not tested: {listed}." if listed else ""
