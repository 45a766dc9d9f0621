"""Who gets which window: every window once, silent workers replaced, staleness bounded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distrib.engines.asynchronous.leases import Finished, Hold, Lease, Ledger
from distrib.training.windows import Windows


def windows_of(*leases: Lease) -> list[int]:
    return [lease.window for lease in leases]


def test_windows_cover_the_stream_and_the_last_may_be_short() -> None:
    windows = Windows(7, 3)

    assert [(w.first_batch, w.last_batch) for w in windows] == [(0, 3), (3, 6), (6, 7)]


def test_windows_are_granted_in_stream_order() -> None:
    ledger = Ledger(3)

    assert windows_of(*(ledger.grant(worker, 0) for worker in "abc")) == [0, 1, 2]
    assert ledger.grant("d", 0) == Hold()


def test_all_applied_is_the_end() -> None:
    ledger = Ledger(1)

    ledger.complete(ledger.grant("a", 0))

    assert ledger.grant("a", 0) == Finished()


def test_a_silent_workers_window_is_granted_again_before_others() -> None:
    ledger = Ledger(5, lease_s=10)
    ledger.grant("silent", 0)
    ledger.grant("alive", 5)

    expired = ledger.expire(10)

    assert windows_of(*expired) == [0]
    again = ledger.grant("alive", 10)
    assert again.window == 0
    assert again.number != expired[0].number


def test_a_renewed_lease_does_not_expire() -> None:
    ledger = Ledger(5, lease_s=10)
    ledger.grant("a", 0)

    ledger.renew("a", 8)

    assert ledger.expire(17) == []
    assert windows_of(*ledger.expire(18)) == [0]


def test_a_dead_workers_windows_are_granted_again() -> None:
    ledger = Ledger(5)
    ledger.grant("dead", 0)
    ledger.grant("alive", 0)
    ledger.grant("dead", 0)

    assert windows_of(*ledger.mark_dead(["dead"])) == [0, 2]
    assert windows_of(*(ledger.grant("alive", 0) for _ in range(3))) == [0, 2, 3]


def test_a_window_that_its_first_holder_finished_after_all_is_not_granted_again() -> None:
    ledger = Ledger(2, lease_s=1)
    slow = ledger.grant("slow", 0)
    ledger.expire(1)

    assert ledger.complete(slow)

    assert windows_of(ledger.grant("b", 1)) == [1]


def test_a_window_counts_once_however_often_it_is_completed() -> None:
    ledger = Ledger(2, lease_s=1)
    slow = ledger.grant("slow", 0)
    ledger.expire(1)
    other = ledger.grant("other", 1)

    assert [ledger.complete(other), ledger.complete(slow)] == [True, False]
    assert ledger.applied == {0}


def test_a_window_that_gives_nan_is_tried_once_more() -> None:
    ledger = Ledger(2)

    assert ledger.fail(ledger.grant("a", 0))
    assert not ledger.fail(ledger.grant("b", 0))


def test_nothing_beyond_the_cut_is_granted_before_all_below_it_is_applied() -> None:
    ledger = Ledger(4, cut=2)
    first, second = ledger.grant("a", 0), ledger.grant("b", 0)

    assert ledger.grant("c", 0) == Hold()
    ledger.complete(second)
    assert ledger.grant("c", 0) == Hold()
    assert not ledger.at_cut
    ledger.complete(first)
    assert ledger.at_cut
    ledger.cut = None
    assert windows_of(ledger.grant("c", 0)) == [2]


def test_recovery_grants_what_is_not_applied() -> None:
    ledger = Ledger(5, applied={0, 1, 3})

    assert windows_of(ledger.grant("a", 0), ledger.grant("a", 0)) == [2, 4]


def test_without_staleness_one_worker_follows_another() -> None:
    ledger = Ledger(5, max_staleness=0)
    lease = ledger.grant("a", 0)

    assert ledger.grant("b", 0) == Hold()
    assert ledger.grant("a", 0).window == 1  # its own next window makes nothing stale
    ledger.complete(lease)
    assert ledger.grant("b", 0) == Hold()


def test_the_first_window_waits_for_the_workers_that_are_to_start_together() -> None:
    ledger = Ledger(9, start_with=2)

    assert [ledger.grant("a", 0), ledger.grant("a", 0)] == [Hold(), Hold()]
    assert windows_of(ledger.grant("b", 0), ledger.grant("a", 0)) == [0, 1]

    ledger.mark_dead(["b"])
    assert windows_of(ledger.grant("a", 0)) == [0]


def test_a_worker_that_asked_and_died_is_not_waited_with() -> None:
    ledger = Ledger(9, start_with=2)
    ledger.grant("dead", 0)

    ledger.mark_dead(["dead"])

    assert ledger.grant("a", 0) == Hold()
    assert windows_of(ledger.grant("b", 0)) == [0]


def test_warm_up_trains_one_window_after_another_and_then_lets_go() -> None:
    ledger = Ledger(5, warm_up=1)
    first = ledger.grant("a", 0)

    assert ledger.grant("b", 0) == Hold()
    ledger.complete(first)
    assert windows_of(ledger.grant("b", 0), ledger.grant("a", 0)) == [1, 2]


@given(
    bound=st.integers(0, 4),
    workers=st.integers(1, 6),
    ahead=st.integers(1, 2),
    seed=st.integers(0, 2**32 - 1),
)
def test_no_push_is_ever_staler_than_the_bound(bound, workers, ahead, seed) -> None:
    rng = np.random.default_rng(seed)
    ledger = Ledger(40, max_staleness=bound)
    pushed: list[str] = []
    held: dict[int, tuple[Lease, int]] = {}
    stalest = 0
    while not ledger.is_finished:
        worker = str(rng.integers(workers))
        own = [entry for entry in held.values() if entry[0].worker == worker]
        answer = ledger.grant(worker, 0) if len(own) < ahead else Hold()
        if isinstance(answer, Lease):
            held[answer.number] = (answer, len(pushed))
        elif own:
            lease, since = own[0]
            stalest = max(stalest, sum(other != worker for other in pushed[since:]))
            pushed.append(worker)
            del held[lease.number]
            ledger.complete(lease)

    assert stalest <= bound
    assert len(pushed) == 40


@pytest.mark.parametrize("seed", range(5))
def test_every_window_is_applied_whatever_dies_or_sleeps(seed) -> None:
    rng = np.random.default_rng(seed)
    ledger = Ledger(60, lease_s=5)
    held: list[Lease] = []
    now, applied = 0.0, 0
    while not ledger.is_finished:
        now += rng.exponential()
        ledger.expire(now)
        if rng.random() < 0.1:
            ledger.mark_dead([str(rng.integers(4))])
        answer = ledger.grant(str(rng.integers(4)), now)
        held += [answer] if isinstance(answer, Lease) else []
        if held and rng.random() < 0.5:
            applied += ledger.complete(held.pop(rng.integers(len(held))))

    assert applied == 60
    assert ledger.applied == set(range(60))
