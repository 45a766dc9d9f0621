"""Measures each arm of a sweep, with intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.errors import ResultsError
from analysis.results.reading import ArmResults, Predictions, SweepResults, Trials
from analysis.statistics import estimators, intervals
from analysis.statistics.estimators import Sample
from analysis.statistics.intervals import Comparison, Interval, Units
from analysis.verdict.damping import Twins, never_damped, read_trained, twins


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """Measurements of an arm's replicas; speeds are over separate processes."""

    log_loss: Interval
    ne: Interval
    auc: Interval
    gauc: Interval
    ranking_loss: Interval
    relative_pd: Interval
    swap_rate: Interval
    train_examples_per_second: Interval
    serve_us_per_example: Interval


@dataclass(frozen=True, kw_only=True, slots=True)
class Counted:
    """Counted costs of an arm; NaN if no replica is finished."""

    train_lookups: float
    serve_lookups: float
    serve_lookup_bytes: float
    parameters: float


@dataclass(frozen=True, kw_only=True, slots=True)
class VersusBaseline:
    """An arm compared with the baseline: difference in log loss (nats), else ratios."""

    log_loss: Comparison
    relative_pd: Comparison
    ranking_loss: Comparison
    train_lookups: float
    serve_lookups: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmSummary:
    """A row of the trade-off table."""

    arm: ArmResults
    measured: Measured
    counted: Counted
    versus_baseline: VersusBaseline

    @property
    def learned_nothing(self) -> bool:
        """Whether its log loss is not significantly below the entropy of the click rate."""
        return self.measured.ne.high >= 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceSummary:
    """The relative PD of the baseline's replicas that vary one source."""

    source: str
    trials: Trials
    relative_pd: Interval


@dataclass(frozen=True, kw_only=True, slots=True)
class DampingSummary:
    """An arm compared with its less damped twin: difference in log loss, ratio of PD."""

    twins: Twins
    log_loss: Comparison
    relative_pd: Comparison


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """The results of a sweep.

    ``never_damped`` are arms of several asynchronous workers without a damped twin, so the effect
    of damping is unknown.
    """

    sweep: SweepResults
    arms: tuple[ArmSummary, ...]
    sources: tuple[SourceSummary, ...]
    damping: tuple[DampingSummary, ...]
    never_damped: tuple[ArmResults, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimates:
    """The units of one arm for comparisons."""

    log_loss: Units
    ranking_loss: Units
    relative_pd: Units


def summarize(sweep: SweepResults) -> Summary:
    """Measure every arm and compare it with the baseline, one arm at a time.

    Raises:
        ResultsError: a finished trial is invalid, or arms were evaluated on different examples.
    """
    evaluation = _predictions(sweep.baseline)
    baseline = _estimates(_sample(evaluation))
    baseline_cost = _counted(sweep.baseline)
    trained = read_trained(sweep.arms)
    pairs = twins(trained)
    paired = {arm.name for pair in pairs for arm in (pair.damped, pair.beside)}
    estimates: dict[str, Estimates] = {}
    summaries = []
    for arm in sweep.arms:
        predictions = _predictions(arm)
        _same_evaluation(arm, predictions, sweep.baseline, evaluation)
        sample = _sample(predictions)
        found = _estimates(sample)
        if arm.name in paired:
            estimates[arm.name] = found
        cost = _counted(arm)
        summaries.append(
            ArmSummary(
                arm=arm,
                measured=_measured(arm, sample, found),
                counted=cost,
                versus_baseline=VersusBaseline(
                    log_loss=intervals.difference(found.log_loss, baseline.log_loss),
                    relative_pd=intervals.ratio(found.relative_pd, baseline.relative_pd),
                    ranking_loss=intervals.ratio(found.ranking_loss, baseline.ranking_loss),
                    train_lookups=cost.train_lookups / baseline_cost.train_lookups,
                    serve_lookups=cost.serve_lookups / baseline_cost.serve_lookups,
                ),
            )
        )
    return Summary(
        sweep=sweep,
        arms=tuple(summaries),
        sources=tuple(
            SourceSummary(
                source=trials.name,
                trials=trials,
                relative_pd=intervals.estimate(
                    _units(_sample(_predictions(trials)), estimators.relative_pd, 2), positive=True
                ),
            )
            for trials in sweep.sources
        ),
        damping=tuple(_damping(pair, estimates) for pair in pairs),
        never_damped=tuple(never_damped(trained)),
    )


def measure(trials: Trials) -> Estimates:
    """Return the units of all finished replicas, for comparisons.

    Raises:
        ResultsError: a finished trial is invalid.
    """
    return _estimates(_sample(_predictions(trials)))


def _damping(found: Twins, estimates: Mapping[str, Estimates]) -> DampingSummary:
    damped, beside = estimates[found.damped.name], estimates[found.beside.name]
    return DampingSummary(
        twins=found,
        log_loss=intervals.difference(damped.log_loss, beside.log_loss),
        relative_pd=intervals.ratio(damped.relative_pd, beside.relative_pd),
    )


def _predictions(trials: Trials) -> Predictions | None:
    return trials.read_predictions() if trials.done else None


def _sample(found: Predictions | None) -> Sample | str:
    """Return the replicas' predictions, or the reason why there are none."""
    if found is None:
        return "no trial is finished"
    if found.diverged:
        return f"replica {found.diverged[0]} predicts NaN or infinity"
    return estimators.sample(found.labels, found.probabilities, found.group, found.replicas)


def _units(sample: Sample | str, estimator: Callable[[Sample], Units], order: int) -> Units:
    if isinstance(sample, Sample):
        return estimator(sample)
    return Units(
        values=np.full(1, np.nan),
        influence=np.zeros((1, 1)),
        replicas=(),
        order=order,
        clusters=0.0,
        reason=sample,
    )


def _estimates(sample: Sample | str) -> Estimates:
    return Estimates(
        log_loss=_units(sample, estimators.log_loss, 1),
        ranking_loss=_units(sample, estimators.ranking_loss, 1),
        relative_pd=_units(sample, estimators.relative_pd, 2),
    )


def _measured(arm: ArmResults, sample: Sample | str, found: Estimates) -> Measured:
    return Measured(
        log_loss=intervals.estimate(found.log_loss),
        ne=intervals.estimate(_units(sample, estimators.normalized_entropy, 1)),
        auc=intervals.estimate(_units(sample, estimators.roc_auc, 1)),
        gauc=intervals.estimate(_units(sample, estimators.gauc, 1)),
        ranking_loss=intervals.estimate(found.ranking_loss),
        relative_pd=intervals.estimate(found.relative_pd, positive=True),
        swap_rate=intervals.estimate(_units(sample, estimators.swap_rate, 2), positive=True),
        train_examples_per_second=_speed(arm, "train_examples_per_second"),
        serve_us_per_example=_speed(arm, "serve_us_per_example"),
    )


def _speed(arm: ArmResults, column: str) -> Interval:
    """Return the mean speed over processes; fused replicas were timed together."""
    timings = _costs(arm, column).unique()
    if not len(timings):
        return intervals.undefined("no trial is finished", replicas=0)
    return intervals.of_mean(timings, "only one process was timed, so the spread is unknown")


def _counted(arm: ArmResults) -> Counted:
    def mean(column: str) -> float:
        values = _costs(arm, column)
        return float(values.mean()) if len(values) else math.nan

    return Counted(
        train_lookups=mean("train_lookups"),
        serve_lookups=mean("serve_lookups"),
        serve_lookup_bytes=mean("serve_lookup_bytes"),
        parameters=mean("parameters"),
    )


def _costs(arm: ArmResults, column: str) -> pd.Series:
    return arm.cost[column] if arm.done else pd.Series(dtype=np.float64)


def _same_evaluation(
    arm: ArmResults, ours: Predictions | None, baseline: ArmResults, theirs: Predictions | None
) -> None:
    if ours is None or theirs is None:
        return
    if not (
        np.array_equal(ours.example, theirs.example)
        and np.array_equal(ours.group, theirs.group)
        and np.array_equal(ours.labels, theirs.labels)
    ):
        raise ResultsError(
            f"{arm.name} was evaluated on other examples than the baseline {baseline.name};"
            " expected the same examples"
        )
