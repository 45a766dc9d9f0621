"""Runs groups of trials on Ray, each a task; a crash stays in its process.

A process trains many groups of built-in models on the CPU, one after another, since it takes it
seconds to load TorchRec; what is a user's own or uses a GPU gets a fresh one, and leaves nothing.
"""

from __future__ import annotations

import logging
import time
import traceback
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import (
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayError,
    WorkerCrashedError,
)
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from distrib.failures import Failure, write_failure
from distrib.groups import Group
from distrib.remote import Results
from distrib.resources import (
    Reservation,
    Resources,
    living_nodes,
    reservation,
    task_requirements,
    worker_resources,
)
from distrib.retry import Decision, Ending, decide
from distrib.stalls import STALL_S, StallWatch
from distrib.status import Running, Status
from distrib.tally import TallyReader, TallyWriter
from distrib.trial import Trial
from distrib.waits import WAIT_S, WaitWatch, asked_of_a_node, fits
from recsys.config import Recipe
from recsys.data.click_log import ClickLog
from recsys.errors import ConfigError, DataError
from recsys.models.config import OwnConfig

_WAIT_S = 0.5
_CANCEL_S = 10.0
_MOST_GROUPS = 32
"""Of a process: what may leak in it ends with it"""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stopped:
    """Why a group did not finish, told by its process or about it."""

    ending: Ending
    reason: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Attempt:
    group: Group
    name: str
    asked: Resources
    """Of one node"""
    reserved: PlacementGroup | None
    worker_deaths: int


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
    """Train groups on the Ray that is there and write their trials below ``directory``.

    All are handed to Ray at once, the largest first, so that an autoscaler sees what is needed.
    What fails leaves its traceback and takes no other with it.

    Args:
        log: the click log; workers open it by its path.
        directory: of the sweep; a path that workers reach too.
        groups: what to train.
        observe: called twice a second, and at the end.
        keep_weights: of what is served, in the trials' directories.
        stall_s: seconds without progress after which a training's process is killed as if it had
            died.
        uri: where the trials are sent that ``directory`` is to mirror, if it mirrors anything.

    Returns:
        the trials that ended without a result.

    Raises:
        KeyboardInterrupt: what ran is cancelled; what was finished is kept.
    """
    run = _Run(
        log, Results(directory=directory.resolve(), uri=uri), groups, keep_weights=keep_weights
    )
    stalls, waits = StallWatch(stall_s), WaitWatch(WAIT_S)
    try:
        for group in sorted(groups, key=lambda each: each.work(log), reverse=True):
            run.submit(group)
        while run.running:
            observe(run.status())
            run.settle_what_ended()
            run.end_what_is_stuck(stalls)
            run.tell_what_waits(waits)
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
        self._tally = TallyReader()
        self._finished: list[Group] = []
        self._trials = sum(len(group.trials) for group in groups)
        self._work = sum(group.work(log) for group in groups)
        self.running: dict[ray.ObjectRef[Stopped | None], _Attempt] = {}
        self.failures: list[Failure] = []

    def submit(self, group: Group, *, worker_deaths: int = 0) -> None:
        name = uuid.uuid4().hex
        nodes = living_nodes()
        asked = task_requirements(group.recipe, nodes)
        wanted = reservation(group.recipe, nodes)
        reserved = _reserved(wanted)
        if reserved is not None:
            asked["scheduling_strategy"] = PlacementGroupSchedulingStrategy(
                reserved, placement_group_capture_child_tasks=True
            )
        task = _task(group.recipe, asked).options(name=group.title, **asked)
        reference = task.remote(
            self._log.directory.resolve(),
            self._results,
            group.trials,
            [trial.digest for trial in group.trials],
            self._tally.actor,
            name,
            self._keep_weights,
        )
        self.running[reference] = _Attempt(
            group=group,
            name=name,
            asked=asked_of_a_node(worker_resources(group.recipe, nodes), wanted),
            reserved=reserved,
            worker_deaths=worker_deaths,
        )

    def settle_what_ended(self) -> None:
        ended, _ = ray.wait(list(self.running), num_returns=len(self.running), timeout=_WAIT_S)
        for reference in ended:
            attempt = self.running.pop(reference)
            _release(attempt.reserved)
            stopped = _stopped(reference) or self._not_received(attempt.group)
            if stopped is None:
                self._finished.append(attempt.group)
            else:
                self._settle(attempt, stopped)

    def end_what_is_stuck(self, stalls: StallWatch) -> None:
        stuck = set(stalls.stalled(self._tally.read(), time.monotonic()))
        for reference, attempt in list(self.running.items()):
            if attempt.name in stuck:
                # Not waited for: a node that is cut off would not answer.
                ray.cancel(reference, force=True)
                del self.running[reference]
                _release(attempt.reserved)
                reason = f"no progress for {stalls.patience_s:g} s"
                self._settle(attempt, Stopped(ending=Ending.STALLED, reason=reason, text=reason))

    def tell_what_waits(self, waits: WaitWatch) -> None:
        """Warn of each training that has waited long for what no node has: none may ever come."""
        begun = self._tally.read()
        waiting = {each.name: each for each in self.running.values() if each.name not in begun}
        asked = {name: each.asked for name, each in waiting.items()}
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
        """Have what a group's process wrote; return what is wrong if it is not there."""
        if all(self._results.receive(trial) for trial in group.trials):
            return None
        if self._results.uri is None:
            reason = (
                f"the result was written, but is not to be seen in {self._results} by the driver; "
                "expected a directory that all nodes reach, or a URI"
            )
            return Stopped(ending=Ending.BAD_INPUT, reason=reason, text=reason)
        reason = "another process sent the same trial at the same time"
        return Stopped(ending=Ending.WORKER_DIED, reason=reason, text=reason)

    def _settle(self, attempt: _Attempt, stopped: Stopped) -> None:
        group = attempt.group
        lost_worker = stopped.ending in (Ending.WORKER_DIED, Ending.STALLED)
        deaths = attempt.worker_deaths + lost_worker
        decision = decide(stopped.ending, worker_deaths=deaths, trials=len(group.trials))
        _log.warning("%s: %s: %s", group.title, stopped.reason, decision)
        if decision is Decision.RETRY:
            self.submit(group, worker_deaths=deaths)
        elif decision is Decision.SPLIT:
            for single in group.split():
                self.submit(single)
        else:
            self.failures += [
                write_failure(self._results, group.title, trial, stopped.reason, stopped.text)
                for trial in group.trials
            ]

    def status(self) -> Status:
        told = self._tally.read()
        examples = sum(group.examples(self._log) for group in self._finished)
        work = float(sum(group.work(self._log) for group in self._finished))
        running = []
        for attempt in self.running.values():
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
        """Cancel what still runs, if anything does."""
        for reference in self.running:
            ray.cancel(reference, force=True)
        if self.running:
            ray.wait(list(self.running), num_returns=len(self.running), timeout=_CANCEL_S)
        for attempt in self.running.values():
            _release(attempt.reserved)
        self._tally.close()


def _reserved(wanted: Reservation | None) -> PlacementGroup | None:
    """Ask for the places of a group's workers; they are there when its task starts."""
    if wanted is None:
        return None
    return placement_group([dict(each) for each in wanted.bundles], strategy=wanted.strategy)


def _release(reserved: PlacementGroup | None) -> None:
    if reserved is not None:
        remove_placement_group(reserved)


def _train_group(
    log_directory: Path,
    results: Results,
    trials: Sequence[Trial],
    digests: Sequence[str],
    tally: Any,
    attempt: str,
    keep_weights: bool,
) -> Stopped | None:
    """Train one group and write its trials; an error of its own is returned as a value."""
    try:
        _train_and_write(
            log_directory,
            results,
            trials,
            digests,
            TallyWriter(tally, attempt),
            keep_weights=keep_weights,
        )
    except (ConfigError, DataError) as error:
        return _stopped_by(error, Ending.BAD_INPUT)
    except Exception as error:
        return _stopped_by(error, Ending.OWN_ERROR)
    return None


# max_retries: distrib.retry decides, and counts.
_IN_TURN = ray.remote(max_calls=_MOST_GROUPS, max_retries=0)(_train_group)
_ALONE = ray.remote(max_calls=1, max_retries=0)(_train_group)


def _task(recipe: Recipe, asked: Mapping[str, Any]) -> Any:
    """Return the task that trains a group: in a fresh process where the next could tell."""
    trains_itself = recipe.engine.name in ("local", "virtual_async")
    is_own = isinstance(recipe.model, OwnConfig)
    return _IN_TURN if trains_itself and not is_own and not asked["num_gpus"] else _ALONE


def _train_and_write(
    log_directory: Path,
    results: Results,
    trials: Sequence[Trial],
    digests: Sequence[str],
    on_progress: Callable[[int], None],
    *,
    keep_weights: bool,
) -> None:
    from distrib.engines import train  # here, so that the driver need not wait for TorchRec

    if [trial.digest for trial in trials] != list(digests):
        raise ConfigError(
            "this worker has other code or libraries than the driver, so its results would not be "
            "the ones asked for; expected the same Soloist, PyTorch, TorchRec and NumPy"
        )
    log = ClickLog.open(log_directory)
    if log.fingerprint != trials[0].data_fingerprint:
        raise DataError(f"{log_directory}: not the click log that the sweep was planned with")
    for trial, result in zip(
        trials, train(log, trials, on_progress=on_progress, directory=results.place), strict=True
    ):
        results.write(trial, result, keep_weights=keep_weights)


def _stopped(reference: ray.ObjectRef[Stopped | None]) -> Stopped | None:
    """Return why a task that ended did not finish, or None if it did."""
    try:
        return ray.get(reference)
    except (NodeDiedError, ObjectLostError) as error:
        return _stopped_by(error, Ending.NODE_DIED)
    except (WorkerCrashedError, OutOfMemoryError) as error:
        return _stopped_by(error, Ending.WORKER_DIED)
    except RayError as error:
        return _stopped_by(error, Ending.OWN_ERROR)


def _stopped_by(error: BaseException, ending: Ending) -> Stopped:
    text = "".join(traceback.format_exception(error))
    return Stopped(ending=ending, reason=_reason(error), text=text)


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
