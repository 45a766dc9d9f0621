"""Trains the requests of a search, and measures its candidates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path

from analysis.results.reading import Trial, Trials
from analysis.results.spending import Prices, Spent
from analysis.results.summary import Estimates, measure
from analysis.statistics import intervals
from analysis.statistics.intervals import Interval
from distrib.scheduling.session import ray_session, terminated_like_interrupted
from distrib.trials.failures import Failure, raise_for
from distrib.trials.grouping import Group, missing_groups
from distrib.trials.remote_results import Results
from distrib.trials.results import is_done, trial_directory
from jobs import costs
from jobs.command import echo
from jobs.experiment.planning import PlannedArm, manifest, plan, write_manifest, write_slices
from jobs.experiment.schema import Experiment
from jobs.progress import train_groups
from jobs.tuning import messages
from jobs.tuning.policy import (
    Candidate,
    Evidence,
    Outcome,
    Request,
    Verdict,
    arm_name,
    decide,
    proposer,
    search_of,
    with_values,
)
from recsys.data.click_log import ClickLog

CONFIRMATION = "confirmation"
"""Folder of the manifest of the confirmation's trials"""
_KEPT = 4
"""Arms whose predictions stay in memory: a candidate, the leader, and the baseline of each"""


class CandidateEvaluator:
    """Measures candidates against the baseline, each pair with the same number of replicas.

    So the result of a candidate depends on its own replicas alone, not on other candidates.
    Keeps all intervals, and the predictions of a few arms.
    """

    def __init__(self, directory: Path, baseline: str) -> None:
        self._directory = directory
        self._baseline = baseline
        self._arms: dict[str, PlannedArm] = {}
        self._measured = lru_cache(maxsize=_KEPT)(self._measure)
        self._candidates = cache(self._measure_candidate)
        self._ratios = cache(self._measure_ratio)

    def evidence(
        self, arms: Mapping[str, PlannedArm], values: Mapping[float, str], failed: Mapping[str, str]
    ) -> Evidence:
        """Return the candidates of some values.

        Args:
            arms: all trained arms by name, with the baseline.
            values: the arm's name of each value, by ascending value.
            failed: why an arm has a replica without a result.

        Raises:
            ResultsError: a finished trial is damaged.
        """
        self._arms |= arms

        def pd_ratio(one: float, other: float) -> Interval:
            names = values[one], values[other]
            return self._ratios(*names, min(len(self._arms[name].trials) for name in names))

        candidates = tuple(
            self._candidate(value, name, failed.get(name, "")) for value, name in values.items()
        )
        return Evidence(candidates=candidates, pd_ratio=pd_ratio)

    def confirmed(
        self, arm: PlannedArm, baseline: PlannedArm, value: float, failed: str
    ) -> Candidate:
        """Return the candidate of new replicas, which took no part in the selection."""
        if failed:
            return _without_result(value, len(arm.trials), failed)
        return _compared(value, len(arm.trials), self._of_trials(arm), self._of_trials(baseline))

    def _candidate(self, value: float, name: str, failed: str) -> Candidate:
        count = len(self._arms[name].trials)
        if failed:
            return _without_result(value, count, failed)
        return self._candidates(value, name, count)

    def _measure_candidate(self, value: float, name: str, count: int) -> Candidate:
        arm, baseline = self._measured(name, count), self._measured(self._baseline, count)
        return _compared(value, count, arm, baseline)

    def _measure_ratio(self, one: str, other: str, count: int) -> Interval:
        first, second = self._measured(one, count), self._measured(other, count)
        return intervals.ratio(first.relative_pd, second.relative_pd).interval

    def _measure(self, name: str, count: int) -> Estimates:
        return self._of_trials(self._arms[name], count)

    def _of_trials(self, arm: PlannedArm, count: int | None = None) -> Estimates:
        return measure(finished(self._directory, replace(arm, trials=arm.trials[:count])))


def finished(directory: Path, arm: PlannedArm) -> Trials:
    """Return the finished trials of an arm in a sweep's directory."""
    places = tuple(trial_directory(directory, trial) for trial in arm.trials)
    done = tuple(
        Trial(directory=place, replica=number)
        for number, (place, trial) in enumerate(zip(places, arm.trials, strict=True))
        if is_done(directory, trial)
    )
    return Trials(name=arm.name, places=places, done=done)


def _compared(value: float, count: int, arm: Estimates, baseline: Estimates) -> Candidate:
    return Candidate(
        value=value,
        replicas=count,
        log_loss=intervals.difference(arm.log_loss, baseline.log_loss).interval,
        relative_pd=intervals.estimate(arm.relative_pd, positive=True),
        pd_ratio=intervals.ratio(arm.relative_pd, baseline.relative_pd).interval,
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


class SearchRunner:
    """Runs the trainings of a search; Ray starts when the first is needed.

    Trials go to ``results``, the manifest and the status to ``place``, a folder of their directory.
    """

    def __init__(
        self, experiment: Experiment, log: ClickLog, results: Results, place: Path
    ) -> None:
        self.config = search_of(experiment)
        self.propose = proposer(self.config, experiment.seed)
        self.failures: list[Failure] = []
        self.trials = 0
        self._experiment = experiment
        self._log = log
        self._results = results
        self._directory = results.directory
        self._place = place
        self._evaluator = CandidateEvaluator(results.directory, experiment.baseline)
        self._stack = ExitStack()
        self._requested: list[PlannedArm] = []

    def __enter__(self) -> SearchRunner:
        baseline = self._experiment.arms[self._experiment.baseline].recipe
        write_slices(self._place, self._log, baseline.evaluation.split, self._experiment.data.item)
        self._stack.enter_context(terminated_like_interrupted())
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def planned(self, request: Request) -> list[PlannedArm]:
        """Return the arms of a request, first the baseline, with the most replicas of any."""
        replicas = dict(request.replicas)
        return plan(with_values(self._experiment, replicas, max(replicas.values())), self._log)

    def missing(self, planned: list[PlannedArm], *, weights: bool = False) -> list[Group]:
        """Return the groups to train, as ``missing_groups``; arms that failed are not retried."""
        arms = (arm for arm in planned if arm.title not in self._failed)
        return missing_groups(
            self._directory,
            (Group(title=arm.title, trials=arm.trials) for arm in arms),
            fuse=self._experiment.fuse,
            weights=weights,
        )

    def estimated_costs(self, prices: Prices, *, probe: bool = False) -> tuple[Spent, ...]:
        """Return the maximum costs of the search, finished trials included."""
        config = self.config
        values = config.points * config.rounds * config.max_replicas + config.confirm
        most = with_values(
            self._experiment, {config.low: values}, config.max_replicas + config.confirm
        )
        titles = (self._experiment.baseline, config.arm)
        fuse = min(self._experiment.fuse, config.replicas)  # the size of most requests
        groups = [
            Group(title=title, trials=arm.trials[first : first + fuse])
            for title, arm in zip(titles, plan(most, self._log), strict=True)
            for first in range(0, len(arm.trials), fuse)
        ]
        return costs.estimated_costs(self._log, self._directory, groups, prices, probe=probe)

    def trained(self) -> list[Trials]:
        """Return the finished trials of all requested arms."""
        return [finished(self._directory, arm) for arm in self._requested]

    def until_verdict(self, request: Request) -> Verdict:
        """Train and decide in turn until the policy reaches a verdict."""
        step: Request | Verdict = request
        while isinstance(step, Request):
            echo(messages.step(self.config, step))
            planned = self.planned(step)
            self._train(planned, self._place)
            self._requested = planned
            names = {value: arm_name(self.config, value) for value, _ in step.replicas}
            arms = {arm.name: arm for arm in planned}
            evidence = self._evaluator.evidence(arms, names, self._failed)
            step = decide(self.config, step, evidence, self.propose)
        return step

    def confirmation(self, verdict: Verdict, *, keep_weights: bool = False) -> Candidate | None:
        """Return the winner measured on new replicas; None if there is no confirmation.

        These replicas and the baseline's get a manifest of their own.
        """
        best, config = verdict.best, self.config
        if verdict.outcome is not Outcome.FOUND or best is None or not config.confirm:
            return None
        echo(f"confirming {best.value:g} on {config.confirm} new replicas")
        count = config.max_replicas + config.confirm
        baseline, arm = (
            replace(each, trials=each.trials[-config.confirm :])
            for each in plan(with_values(self._experiment, {best.value: count}, count), self._log)
        )
        self._train([baseline, arm], self._directory / CONFIRMATION, keep_weights=keep_weights)
        self._requested += [baseline, arm]
        failed = self._failed.get(arm.title, "")
        return self._evaluator.confirmed(arm, baseline, best.value, failed)

    @property
    def _failed(self) -> dict[str, str]:
        """Why an arm has a replica without a result, by the arm's title."""
        return {each.title: each.reason for each in self.failures}

    def _train(
        self, planned: list[PlannedArm], manifest_directory: Path, *, keep_weights: bool = False
    ) -> None:
        write_manifest(manifest_directory, manifest(self._experiment, planned, root=Path("..")))
        self._results.send()
        groups = self.missing(planned, weights=keep_weights)
        if not groups:
            return
        self._stack.enter_context(ray_session())
        failures = train_groups(
            self._log,
            self._directory,
            groups,
            status_directory=self._place,
            keep_weights=keep_weights,
            stall_s=self._experiment.stall_s,
            uri=self._results.uri,
        )
        trials = sum(len(group.trials) for group in groups)
        # Candidates need all replicas of the baseline.
        raise_for([each for each in failures if each.title == planned[0].title], trials)
        self.failures += failures
        self.trials += trials
