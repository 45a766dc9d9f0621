"""From finished trials to what the rules of a search are told."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from analysis import intervals
from analysis.intervals import Interval, Units
from analysis.results import Trial, Trials
from analysis.summary import Estimates, measure
from distrib.results import is_done, trial_directory
from jobs.planning import PlannedArm
from jobs.searching.policy import Candidate, Evidence

#: Arms whose predictions are measured and kept: a candidate, the leader, the baseline for each.
_KEPT = 4


class Bench:
    """Measures candidates against a baseline, each with as many of its replicas as they have.

    So what is known of a candidate depends on its own replicas alone, not on what else was tried.
    Intervals are kept, predictions of a few arms at a time.
    """

    def __init__(self, directory: Path, baseline: str) -> None:
        self._directory = directory
        self._baseline = baseline
        self._arms: dict[str, PlannedArm] = {}
        self._candidates: dict[tuple[str, int], Candidate] = {}
        self._ratios: dict[tuple[str, str, int], Interval] = {}
        self._measured = lru_cache(maxsize=_KEPT)(self._measure)

    def evidence(
        self,
        arms: Mapping[str, PlannedArm],
        values: Mapping[float, str],
        failed: Mapping[str, str],
    ) -> Evidence:
        """Return what is known of some values.

        Args:
            arms: all that was trained, the baseline among them, by name.
            values: the arm's name of each value, in ascending order of values.
            failed: why an arm has a replica without a result.

        Raises:
            ResultsError: a finished trial is not what was promised.
        """
        self._arms |= arms

        def pd_ratio(one: float, other: float) -> Interval:
            return self._ratio(values[one], values[other])

        candidates = tuple(
            self._candidate(value, name, failed.get(name, "")) for value, name in values.items()
        )
        return Evidence(candidates=candidates, pd_ratio=pd_ratio)

    def fresh(self, arm: PlannedArm, baseline: PlannedArm, value: float, failed: str) -> Candidate:
        """Return what replicas that no decision was made from say of an arm."""
        if failed:
            return _without_result(value, len(arm.trials), failed)
        ours, theirs = self._of_trials(arm), self._of_trials(baseline)
        return _compared(value, len(arm.trials), ours, theirs)

    def _candidate(self, value: float, name: str, failed: str) -> Candidate:
        count = len(self._arms[name].trials)
        if failed:
            return _without_result(value, count, failed)
        key = (name, count)
        if key not in self._candidates:
            ours, theirs = self._measured(name, count), self._measured(self._baseline, count)
            self._candidates[key] = _compared(value, count, ours, theirs)
        return self._candidates[key]

    def _ratio(self, one: str, other: str) -> Interval:
        count = min(len(self._arms[one].trials), len(self._arms[other].trials))
        key = (one, other, count)
        if key not in self._ratios:
            ours, theirs = self._measured(one, count), self._measured(other, count)
            self._ratios[key] = _ratio(ours.relative_pd, theirs.relative_pd)
        return self._ratios[key]

    def _measure(self, name: str, count: int) -> Estimates:
        return self._of_trials(self._arms[name], count)

    def _of_trials(self, arm: PlannedArm, count: int | None = None) -> Estimates:
        return measure(finished(self._directory, replace(arm, trials=arm.trials[:count])))


def finished(directory: Path, arm: PlannedArm) -> Trials:
    """Return the finished trials of an arm below a sweep's directory."""
    places = tuple(trial_directory(directory, trial) for trial in arm.trials)
    done = tuple(
        Trial(directory=place, replica=number)
        for number, (place, trial) in enumerate(zip(places, arm.trials, strict=True))
        if is_done(directory, trial)
    )
    return Trials(name=arm.name, places=places, done=done)


def _compared(value: float, count: int, ours: Estimates, theirs: Estimates) -> Candidate:
    return Candidate(
        value=value,
        replicas=count,
        log_loss=intervals.difference(ours.log_loss, theirs.log_loss).interval,
        relative_pd=intervals.estimate(ours.relative_pd, positive=True),
        pd_ratio=_ratio(ours.relative_pd, theirs.relative_pd),
    )


def _without_result(value: float, count: int, reason: str) -> Candidate:
    nothing = intervals.undefined(reason, replicas=0, value=math.nan)
    return Candidate(
        value=value,
        replicas=count,
        log_loss=nothing,
        relative_pd=nothing,
        pd_ratio=nothing,
        failed=reason,
    )


def _ratio(ours: Units, theirs: Units) -> Interval:
    return intervals.ratio(ours, theirs).interval
