"""Carries out what the rules of a search ask for."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from analysis.results import Trials
from analysis.spending import Prices, Spent
from distrib.failures import Failure, raise_for
from distrib.groups import Group, missing_groups
from distrib.remote import Results
from distrib.session import ray_session, terminated_like_interrupted
from jobs import bill
from jobs.command import say
from jobs.experiment import Experiment
from jobs.planning import PlannedArm, manifest, plan, write_manifest
from jobs.searching import words
from jobs.searching.arms import arm_name, search_of, with_values
from jobs.searching.evidence import Bench, finished
from jobs.searching.policy import Candidate, Outcome, Request, Verdict, decide
from jobs.searching.proposals import proposer
from jobs.slices import write_slices
from jobs.training import train_groups
from recsys.data.click_log import ClickLog

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
