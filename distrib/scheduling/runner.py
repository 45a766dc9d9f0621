"""Runs groups of trials as Ray tasks; a crash stays in its process."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import ray
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from distrib.engines.synchronous.ray_train import remove_placement_groups
from distrib.engines.synchronous.run import run_name
from distrib.scheduling.group_task import (
    Decision,
    GroupOutcome,
    Stopped,
    decide,
    stopped,
    stopped_by,
    task,
)
from distrib.scheduling.progress import ProgressReader, ProgressReporter
from distrib.scheduling.resources import Needs, Reservation, Resources, living_nodes, needs_of
from distrib.scheduling.stall_detection import (
    STALL_S,
    WAIT_S,
    PendingDetector,
    StallDetector,
    fits,
    node_request,
)
from distrib.scheduling.status import Running, Status
from distrib.trials.failures import Failure, write_failure
from distrib.trials.grouping import Group
from distrib.trials.remote_results import Results
from recsys.data.click_log import ClickLog

_WAIT_S = 0.5
_CANCEL_S = 10.0
_PAUSES_S = (1, 5, 20)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class _PendingGroup:
    """A group to train."""

    group: Group
    needs: Needs
    """Decided once: a cluster that lost its nodes is to get them back"""
    worker_deaths: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class _Attempt:
    """A submitted group."""

    wanted: _PendingGroup
    name: str
    reserved: PlacementGroup | None

    @property
    def group(self) -> Group:
        return self.wanted.group


def run_groups(
    log: ClickLog,
    directory: Path,
    groups: Sequence[Group],
    *,
    observe: Callable[[Status], None] = lambda _: None,
    keep_weights: bool = False,
    stall_s: float = STALL_S,
    uri: str | None = None,
) -> list[Failure]:
    """Train groups on Ray and write their trials below ``directory``.

    All are submitted at once, the largest first, so that an autoscaler sees the total demand.
    Synchronous trainings wait for their placement groups one at a time, so that their drivers
    cannot block the ranks. A failed trial leaves its traceback and does not stop others.

    Args:
        log: the click log; workers open it by its path.
        directory: of the sweep; a path that workers reach too.
        groups: what to train.
        observe: called twice a second, and at the end.
        keep_weights: whether trials keep their served weights.
        stall_s: seconds without progress after which a training's process is killed and treated as
            crashed.
        uri: where trials are uploaded if ``directory`` mirrors a URI.

    Returns:
        the trials that ended without a result.

    Raises:
        ConfigError: a group needs resources that this Ray will never have.
        KeyboardInterrupt: running groups are cancelled; finished trials are kept.
    """
    run = _Run(
        log, Results(directory=directory.resolve(), uri=uri), groups, keep_weights=keep_weights
    )
    stalls, waits = StallDetector(stall_s), PendingDetector(WAIT_S)
    try:
        for group in sorted(groups, key=lambda each: each.work(log), reverse=True):
            run.take(group)
        while run.is_busy:
            run.submit_ready()
            observe(run.status())
            run.handle_finished()
            run.end_what_is_stuck(stalls)
            run.warn_about_pending(waits)
        observe(run.status())
    finally:
        run.close()
    return run.failures


class _Run:
    """The state of one call of ``run_groups``."""

    def __init__(
        self, log: ClickLog, results: Results, groups: Sequence[Group], *, keep_weights: bool
    ) -> None:
        self._log = log
        self._results = results
        self._keep_weights = keep_weights
        self._progress_actor = ProgressReader()
        self._finished: list[Group] = []
        self._trials = sum(len(group.trials) for group in groups)
        self._work = sum(group.work(log) for group in groups)
        self._waiting: list[_PendingGroup] = []
        self._running: dict[ray.ObjectRef[Stopped | None], _Attempt] = {}
        self.failures: list[Failure] = []

    @property
    def is_busy(self) -> bool:
        return bool(self._waiting or self._running)

    def take(self, group: Group) -> None:
        """Add a group to train."""
        needs = needs_of(group.recipe, living_nodes())
        self._waiting.append(_PendingGroup(group=group, needs=needs))

    def submit_ready(self) -> None:
        """Submit waiting groups, except those that must wait for another's placement group."""
        if not self._waiting:
            return
        begun = self._progress_actor.read()
        waiting, self._waiting = self._waiting, []
        for wanted in waiting:
            if wanted.needs.places_ranks and self._ranks_wait(begun):
                self._waiting.append(wanted)
            else:
                self._start(wanted)

    def _ranks_wait(self, begun: Container[str]) -> bool:
        return any(
            each.wanted.needs.places_ranks and each.name not in begun
            for each in self._running.values()
        )

    def _start(self, wanted: _PendingGroup) -> None:
        group, needs, name = wanted.group, wanted.needs, uuid.uuid4().hex
        reserved = _reserved(needs.reservation)
        asked = dict(needs.task)
        if reserved is not None:
            asked["scheduling_strategy"] = PlacementGroupSchedulingStrategy(
                reserved, placement_group_capture_child_tasks=True
            )
        reference = (
            task(group.recipe, asked)
            .options(name=group.title, **asked)
            .remote(
                self._log.directory.resolve(),
                self._results,
                group.trials,
                [trial.digest for trial in group.trials],
                ProgressReporter(self._progress_actor.actor, name, begins_alone=needs.begins_alone),
                self._keep_weights,
            )
        )
        self._running[reference] = _Attempt(wanted=wanted, name=name, reserved=reserved)

    def handle_finished(self) -> None:
        ended, _ = ray.wait(list(self._running), num_returns=len(self._running), timeout=_WAIT_S)
        for reference in ended:
            attempt = self._running.pop(reference)
            _release(attempt)
            why = stopped(reference) or self._not_received(attempt.group)
            if why is None:
                self._finished.append(attempt.group)
            else:
                self._settle(attempt, why)

    def end_what_is_stuck(self, stalls: StallDetector) -> None:
        told = self._progress_actor.read()
        if not self._progress_actor.is_fresh:
            return  # nobody is stuck for that the tally does not answer
        stuck = set(stalls.stalled(told, time.monotonic()))
        for reference, attempt in list(self._running.items()):
            if attempt.name in stuck:
                # Not waited for: a node that is cut off would not answer.
                ray.cancel(reference, force=True)
                del self._running[reference]
                _release(attempt)
                reason = f"no progress for {stalls.patience_s:g} s"
                self._settle(
                    attempt, Stopped(ending=GroupOutcome.STALLED, reason=reason, text=reason)
                )

    def warn_about_pending(self, waits: PendingDetector) -> None:
        """Warn once of each training that waits for resources that no node has."""
        begun = self._progress_actor.read()
        waiting = {each.name: each for each in self._running.values() if each.name not in begun}
        asked = {name: _of_a_node(each.wanted.needs) for name, each in waiting.items()}
        for name in waits.overdue(asked, time.monotonic()):
            if not fits(asked[name], living_nodes()):
                _log.warning(
                    "%s: still waits for a node with %s, which none has that is there; if none can "
                    "come, stop, and ask for less: engine.threads, engine.resources",
                    waiting[name].group.title,
                    ", ".join(
                        f"{amount:g} {what}" for what, amount in asked[name].items() if amount
                    ),
                )

    def _not_received(self, group: Group) -> Stopped | None:
        """Download what a group's process wrote; return what is missing."""
        try:
            if self._receive(group):
                return None
        except OSError as error:
            return stopped_by(error, GroupOutcome.WORKER_DIED)
        if self._results.uri is None:
            reason = (
                f"the result was written, but is not to be seen in {self._results} by the driver; "
                "expected a directory that all nodes reach, or a URI"
            )
            return Stopped(ending=GroupOutcome.BAD_INPUT, reason=reason, text=reason)
        reason = "another process sent the same trial at the same time"
        return Stopped(ending=GroupOutcome.WORKER_DIED, reason=reason, text=reason)

    def _receive(self, group: Group) -> bool:
        """Download what a group's process wrote; False if it is incomplete."""
        for pause_s in _PAUSES_S:
            try:
                return all(self._results.receive(trial) for trial in group.trials)
            except OSError as error:  # hours of training lie there: worth asking again
                _log.warning("%s: %s: asked again in %d s", group.title, error, pause_s)
                time.sleep(pause_s)
        return all(self._results.receive(trial) for trial in group.trials)

    def _settle(self, attempt: _Attempt, why: Stopped) -> None:
        group = attempt.group
        lost_worker = why.ending in (GroupOutcome.WORKER_DIED, GroupOutcome.STALLED)
        deaths = attempt.wanted.worker_deaths + lost_worker
        decision = decide(why.ending, worker_deaths=deaths, trials=len(group.trials))
        _log.warning("%s: %s: %s", group.title, why.reason, decision)
        if decision is Decision.RETRY:
            self._waiting.append(replace(attempt.wanted, worker_deaths=deaths))
        elif decision is Decision.SPLIT:
            self._waiting += [
                replace(attempt.wanted, group=single, worker_deaths=0) for single in group.split()
            ]
        else:
            self.failures += [
                write_failure(self._results, group.title, trial, why.reason, why.text)
                for trial in group.trials
            ]

    def status(self) -> Status:
        told = self._progress_actor.read()
        examples = sum(group.examples(self._log) for group in self._finished)
        work = float(sum(group.work(self._log) for group in self._finished))
        running = []
        for attempt in self._running.values():
            group, trained = attempt.group, told.get(attempt.name, 0)
            examples += trained
            work += group.work(self._log) * trained / group.examples(self._log)
            running.append(
                Running(
                    title=group.title,
                    trials=tuple(trial.digest for trial in group.trials),
                    examples_done=trained,
                    examples=group.examples(self._log),
                )
            )
        return Status(
            trials_done=sum(len(group.trials) for group in self._finished),
            trials_failed=len(self.failures),
            trials=self._trials,
            examples_done=examples,
            work_done=work,
            work=self._work,
            running=tuple(running),
        )

    def close(self) -> None:
        """Cancel all running groups."""
        for reference in self._running:
            ray.cancel(reference, force=True)
        if self._running:
            ray.wait(list(self._running), num_returns=len(self._running), timeout=_CANCEL_S)
        for attempt in self._running.values():
            _release(attempt)
        self._progress_actor.close()


def _of_a_node(needs: Needs) -> Resources:
    return node_request(needs.worker, needs.reservation)


def _reserved(wanted: Reservation | None) -> PlacementGroup | None:
    """Create the placement group of a group's workers, which is ready when its task starts."""
    if wanted is None:
        return None
    return placement_group([dict(each) for each in wanted.bundles], strategy=wanted.strategy)


def _release(attempt: _Attempt) -> None:
    """Remove the placement group of a finished attempt; a killed process could not."""
    if attempt.reserved is not None:
        remove_placement_group(attempt.reserved)
    if attempt.wanted.needs.places_ranks:
        remove_placement_groups(run_name(attempt.group.trials))
