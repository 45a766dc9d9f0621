"""Workers that die are replaced, but not forever; what ends a training is told in one line."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, GetTimeoutError, RayTaskError

from distrib.engines.asynchronous import worker_pool as module
from distrib.engines.asynchronous.messages import Servers
from distrib.engines.asynchronous.worker_pool import MAX_CRASHES, WorkerPool
from distrib.errors import TrialFailed

SERVERS = Servers(dispatcher=None)


@dataclass
class Actor:
    """A worker whose calls end with ``outcome``."""

    name: str
    outcome: Any = None

    @property
    def run(self) -> Actor:
        return self

    def remote(self, phase: int, servers: Servers) -> Call:
        return Call(self)


@dataclass(eq=False)
class Call:
    actor: Actor


@dataclass
class Workers:
    """Ray as a crew sees it, and the actors that it was asked for."""

    hired: list[Actor] = field(default_factory=list)
    killed: list[str] = field(default_factory=list)

    def start_worker(self, name: str, place: int) -> Actor:
        self.hired.append(Actor(name))
        return self.hired[-1]

    def wait(self, calls: list[Call], **_: object) -> tuple[list[Call], list[Call]]:
        return [call for call in calls if call.actor.outcome is not None], []

    def get(self, call: Call, timeout: float | None = None) -> Any:
        if call.actor.outcome is None:
            raise GetTimeoutError
        if isinstance(call.actor.outcome, Exception):
            raise call.actor.outcome
        return call.actor.outcome

    def kill(self, actor: Actor) -> None:
        self.killed.append(actor.name)


@pytest.fixture
def workers(monkeypatch) -> Workers:
    workers = Workers()
    monkeypatch.setattr(module, "ray", workers)
    return workers


def crew_of(workers: Workers, wanted: int) -> WorkerPool:
    crew = WorkerPool(wanted, workers.start_worker, lambda place: None)
    crew.start(0, SERVERS)
    return crew


def own_error(cause: Exception) -> RayTaskError:
    return RayTaskError("run", "Traceback\n  of many lines\n", cause, "ray::run", 1, "host")


def lose(workers: Workers, crew: WorkerPool) -> None:
    workers.hired[-1].outcome = ActorDiedError()
    crew.reap(0, SERVERS)


def test_a_worker_that_dies_is_replaced_and_that_is_told(workers, caplog) -> None:
    crew = crew_of(workers, 2)
    workers.hired[0].outcome = ActorDiedError()

    with caplog.at_level(logging.WARNING):
        dead, lost = crew.reap(0, SERVERS)

    assert (dead, lost) == (["worker-0"], False)
    assert [actor.name for actor in workers.hired] == ["worker-0", "worker-1", "worker-2"]
    assert caplog.messages[0].startswith("worker-0 is replaced by worker-2: The actor died")


def test_workers_that_die_before_any_has_a_window_fail_the_trial(workers) -> None:
    crew = crew_of(workers, 1)
    for _ in range(MAX_CRASHES - 1):
        lose(workers, crew)

    with pytest.raises(TrialFailed, match=rf"^{MAX_CRASHES} workers crashed .*the last: The ac"):
        lose(workers, crew)

    assert len(workers.hired) == MAX_CRASHES


def test_workers_that_die_now_and_then_are_replaced_as_long_as_windows_are_applied(workers) -> None:
    crew = crew_of(workers, 1)

    for _ in range(3 * MAX_CRASHES):
        lose(workers, crew)
        crew.note_progress()

    assert len(workers.hired) == 1 + 3 * MAX_CRASHES


@pytest.mark.parametrize(
    ("cause", "told"),
    [
        (TrialFailed("shared memory is not accessible"), "shared memory is not accessible"),
        (KeyError("row"), "KeyError: 'row'"),
    ],
    ids=["told", "unforeseen"],
)
@pytest.mark.parametrize("raising", [True, False], ids=["reap", "drain"])
def test_a_workers_own_error_reaches_a_person_in_one_line(workers, cause, told, raising) -> None:
    crew = crew_of(workers, 1)
    workers.hired[0].outcome = own_error(cause).as_instanceof_cause()

    with pytest.raises(TrialFailed) as caught:
        crew.reap(0, SERVERS) if raising else crew.drain()

    assert str(caught.value) == f"a worker failed: {told}"


def test_a_worker_that_cannot_start_is_told_by_what_it_raised(workers) -> None:
    crew = crew_of(workers, 1)
    raised = RayTaskError(
        "__init__", "Traceback\n  line\nDataError: not the click log", ValueError(), "t", 1, "h"
    )
    workers.hired[0].outcome = ActorDiedError(raised)

    with pytest.raises(TrialFailed, match=r"^a worker cannot start: DataError: not the click log$"):
        crew.reap(0, SERVERS)


def test_a_worker_that_does_not_notice_in_time_is_replaced(workers) -> None:
    crew = crew_of(workers, 1)

    crew.drain()

    assert workers.killed == ["worker-0"]
    assert [actor.name for actor in workers.hired] == ["worker-0", "worker-1"]
