"""Trains what the search policy requests, and turns finished trials into evidence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from analysis.results.reading import Trial, Trials
from analysis.results.spending import Prices, Spent
from analysis.results.summary import Estimates, measure
from analysis.statistics import intervals
from analysis.statistics.intervals import Interval, Units
from distrib.scheduling.session import ray_session, terminated_like_interrupted
from distrib.trials.failures import Failure, raise_for
from distrib.trials.grouping import Group, missing_groups
from distrib.trials.remote_results import Results
from distrib.trials.results import is_done, trial_directory
from jobs.command import say
from jobs.costs import cost_report as bill
from jobs.experiment.planning import PlannedArm, manifest, plan, write_manifest, write_slices
from jobs.experiment.schema import Experiment
from jobs.progress import train_groups
from jobs.tuning import messages as words
from jobs.tuning.arms import arm_name, search_of, with_values
from jobs.tuning.policy import Candidate, Evidence, Outcome, Request, Verdict, decide, proposer
from recsys.data.click_log import ClickLog

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


CONFIRMATION = "confirmation"
"""The folder beside the trials whose manifest tells which are the winner's fresh replicas"""


class Trainings:
    """The trainings of a search, on a Ray that starts when it is needed.

    Trials go to ``results``, what is told of them to ``place``, a folder of their directory.
    """

    def __init__(
        self, experiment: Experiment, log: ClickLog, results: Results, place: Path
    ) -> None:
        self.config = search_of(experiment)
        self.propose = proposer(self.config, experiment.seed)
        self.failures: list[Failure] = []
        self.asked = 0
        self._experiment = experiment
        self._log = log
        self._results = results
        self._directory = results.directory
        self._place = place
        self._bench = Bench(results.directory, experiment.baseline)
        self._stack = ExitStack()
        self._asked_for: list[PlannedArm] = []

    def __enter__(self) -> Trainings:
        baseline = self._experiment.arms[self._experiment.baseline].recipe
        write_slices(self._place, self._log, baseline.evaluation.split, self._experiment.data.item)
        self._stack.enter_context(terminated_like_interrupted())
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def planned(self, request: Request) -> list[PlannedArm]:
        """Return the arms of a request, the baseline first, with as many replicas as any."""
        replicas = dict(request.replicas)
        most = max(replicas.values())
        return plan(with_values(self._experiment, replicas, most), self._log)

    def missing(self, planned: list[PlannedArm], *, weights: bool = False) -> list[Group]:
        """Return what is to train, as ``missing_groups``; what failed before is not tried again."""
        return missing_groups(
            self._directory,
            (
                Group(title=arm.title, trials=arm.trials)
                for arm in planned
                if arm.title not in self._failed
            ),
            fuse=self._experiment.fuse,
            weights=weights,
        )

    def estimated(self, prices: Prices, *, probe: bool = False) -> tuple[Spent, ...]:
        """Return what the search can take at most, finished trials included."""
        config, baseline = self.config, self._experiment.baseline
        values = config.points * config.rounds * config.max_replicas + config.confirm
        most = with_values(
            self._experiment, {config.low: values}, config.max_replicas + config.confirm
        )
        titles = (baseline, config.arm)
        fuse = min(self._experiment.fuse, config.replicas)  # as most of them will be asked for
        groups = [
            Group(title=title, trials=arm.trials[first : first + fuse])
            for title, arm in zip(titles, plan(most, self._log), strict=True)
            for first in range(0, len(arm.trials), fuse)
        ]
        return bill.estimated(self._log, self._directory, groups, prices, probe=probe)

    def trained(self) -> list[Trials]:
        """Return all that was trained for the search, as finished trials."""
        return [finished(self._directory, arm) for arm in self._asked_for]

    def until_verdict(self, request: Request) -> Verdict:
        """Train and decide in turn until the rules are satisfied."""
        step: Request | Verdict = request
        while isinstance(step, Request):
            say(words.step(self.config, step))
            planned = self.planned(step)
            contents = manifest(self._experiment, planned, root=Path(".."))
            write_manifest(self._place, contents)
            self._results.send()
            self._train(planned)
            self._asked_for = planned
            names = {value: arm_name(self.config, value) for value, _ in step.replicas}
            arms = {arm.name: arm for arm in planned}
            evidence = self._bench.evidence(arms, names, self._failed)
            step = decide(self.config, step, evidence, self.propose)
        return step

    def confirmation(self, verdict: Verdict, *, keep_weights: bool = False) -> Candidate | None:
        """Return what fresh replicas say of the winner; None where none are wanted.

        They and the baseline's are a sweep of their own, beside the search.
        """
        best, config = verdict.best, self.config
        if verdict.outcome is not Outcome.FOUND or best is None or not config.confirm:
            return None
        say(f"confirming {best.value:g} on {config.confirm} fresh replicas")
        count = config.max_replicas + config.confirm
        baseline, arm = (
            replace(each, trials=each.trials[-config.confirm :])
            for each in plan(with_values(self._experiment, {best.value: count}, count), self._log)
        )
        contents = manifest(self._experiment, [baseline, arm], root=Path(".."))
        write_manifest(self._directory / CONFIRMATION, contents)
        self._results.send()
        self._train([baseline, arm], keep_weights=keep_weights)
        failed = self._failed.get(arm.title, "")
        self._asked_for += [baseline, arm]
        return self._bench.fresh(arm, baseline, best.value, failed)

    @property
    def _failed(self) -> dict[str, str]:
        """Why an arm has a replica without a result, by the arm's name."""
        return {each.title: each.reason for each in self.failures}

    def _train(self, planned: list[PlannedArm], *, keep_weights: bool = False) -> None:
        groups = self.missing(planned, weights=keep_weights)
        if not groups:
            return
        self._stack.enter_context(ray_session())
        failures = train_groups(
            self._log,
            self._directory,
            groups,
            told_in=self._place,
            keep_weights=keep_weights,
            stall_s=self._experiment.stall_s,
            uri=self._results.uri,
        )
        trials = sum(len(group.trials) for group in groups)
        # Without all of the baseline's replicas nothing can be judged.
        raise_for([each for each in failures if each.title == planned[0].title], trials)
        self.failures += failures
        self.asked += trials
