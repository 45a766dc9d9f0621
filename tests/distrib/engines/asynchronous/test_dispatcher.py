"""What a dispatcher makes of holders that die, hang, or give NaN: without Ray or a real clock."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from distrib.engines.asynchronous import dispatcher as module
from distrib.engines.asynchronous.dispatcher import MOST_DEATHS, Dispatcher
from distrib.engines.asynchronous.leases import Lease, Ledger
from distrib.engines.asynchronous.messages import Report, Seconds, TrainingProgress

LEASE_S = 10.0


@dataclass
class Clock:
    now: float = 0.0

    def monotonic(self) -> float:
        return self.now


@dataclass
class Meters:
    """Keeps what it is told."""

    tags: dict[str, str]
    live_workers: list[int] = field(default_factory=list)

    def window(self, report: Report, *, latency_s: float) -> None: ...

    def workers(self, live_workers: int) -> None:
        self.live_workers.append(live_workers)


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def meters(monkeypatch) -> Meters:
    meters = Meters({})
    monkeypatch.setattr(module, "RayMetrics", lambda tags: meters)
    return meters


@pytest.fixture
def dispatcher(clock, meters) -> Dispatcher:
    return Dispatcher(Ledger(3, lease_s=LEASE_S), TrainingProgress(), {})


def report(lease: Lease, examples: int = 32) -> Report:
    return Report(
        lease=lease,
        batches=1,
        examples=examples,
        progressive_loss=0.5,
        lookups=(1,),
        staleness=(),
        bytes_pulled=0,
        bytes_pushed=0,
        seconds=Seconds(),
    )


def test_a_window_whose_holders_die_one_after_another_fails_the_trial(dispatcher) -> None:
    failures = []
    for number in range(MOST_DEATHS):
        dispatcher.next(f"worker-{number}")
        dispatcher.mark_dead([f"worker-{number}"])
        failures.append(dispatcher.status().failure)

    assert failures[:-1] == [None] * (MOST_DEATHS - 1)
    assert failures[-1].startswith(f"window 0: {MOST_DEATHS} workers crashed or stopped responding")


def test_a_window_that_hangs_its_holders_fails_the_trial(dispatcher, clock) -> None:
    failures = []
    for number in range(MOST_DEATHS):
        dispatcher.next(f"worker-{number}")
        clock.now += LEASE_S
        failures.append(dispatcher.status().failure)  # which finds it silent, to be ended
        dispatcher.mark_dead([f"worker-{number}"])

    assert failures[:-1] == [None] * (MOST_DEATHS - 1)
    assert failures[-1].startswith(f"window 0: {MOST_DEATHS} workers crashed or stopped responding")


def test_a_holder_that_is_silent_until_it_is_ended_counts_once(clock, meters) -> None:
    ledger = Ledger(3, lease_s=LEASE_S, needs_confirmed_exit=True)
    dispatcher = Dispatcher(ledger, TrainingProgress(), {})
    dispatcher.next("worker-0")
    clock.now += LEASE_S

    told = [dispatcher.status() for _ in range(2 * MOST_DEATHS)]
    dispatcher.mark_dead(["worker-0"])

    assert [status.silent for status in told] == [("worker-0",)] * len(told)
    assert dispatcher.status().failure is None


def test_a_window_that_gives_nan_once_is_trained_by_the_next_and_counts_once(dispatcher) -> None:
    first = dispatcher.next("worker-0")
    dispatcher.not_finite(first, "NaN")
    again = dispatcher.next("worker-1")

    dispatcher.complete(report(again))
    for _ in range(2):
        dispatcher.complete(report(dispatcher.next("worker-0")))

    status = dispatcher.status()
    assert (first.window, again.window) == (0, 0)
    assert (status.failure, status.is_finished) == (None, True)
    assert (status.seen.windows, status.seen.examples) == (3, 96)


def test_workers_are_counted_that_were_heard_of_lately_and_live(dispatcher, clock, meters) -> None:
    dispatcher.status()
    dispatcher.next("worker-0")
    dispatcher.next("worker-1")
    dispatcher.status()
    clock.now += LEASE_S
    dispatcher.heartbeat("worker-1")
    dispatcher.status()
    dispatcher.mark_dead(["worker-1"])
    dispatcher.status()

    assert meters.live_workers == [0, 2, 1, 0]
