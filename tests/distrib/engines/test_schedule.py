"""Schedules of logical workers: every window pulled, then pushed, as the delays say."""

from __future__ import annotations

import numpy as np
import pytest

from distrib.engines.virtual_async import Event, schedule
from recsys.engines import ConstantDelays, ExponentialDelays, StragglerDelays


def staleness(order: list[Event]) -> list[int]:
    """Return, push by push, how many others were pushed since its pull."""
    pushes, since, found = 0, {}, []
    for event in order:
        if event.is_push:
            found.append(pushes - since[event.window])
            pushes += 1
        else:
            since[event.window] = pushes
    return found


@pytest.mark.parametrize("delays", [ConstantDelays(), ExponentialDelays(), StragglerDelays()])
@pytest.mark.parametrize("workers", [1, 3, 40, 4096])
def test_every_window_is_pulled_in_stream_order_and_then_pushed(delays, workers) -> None:
    order = schedule(50, workers, delays, np.random.default_rng(0))

    assert [e.window for e in order if not e.is_push] == list(range(50))
    assert sorted(e.window for e in order if e.is_push) == list(range(50))
    assert min(staleness(order)) >= 0


def test_one_worker_is_never_stale() -> None:
    assert set(staleness(schedule(20, 1, ExponentialDelays(), np.random.default_rng(0)))) == {0}


def test_equally_fast_workers_are_as_stale_as_there_are_others() -> None:
    order = schedule(4000, 8, ConstantDelays(), np.random.default_rng(0))

    assert np.mean(staleness(order)) == pytest.approx(7, abs=0.1)
    assert max(staleness(order)) <= 14  # from first in one round to last in the next


def test_what_a_straggler_pushes_is_stale_by_its_slowness() -> None:
    delays = StragglerDelays(share=0.25, slowdown=10)
    order = schedule(4000, 4, delays, np.random.default_rng(0))

    assert max(staleness(order)) == pytest.approx(30, abs=4)


def test_the_seed_decides_the_order() -> None:
    orders = [
        schedule(100, 5, ExponentialDelays(), np.random.default_rng(seed)) for seed in (1, 1, 2)
    ]

    assert orders[0] == orders[1]
    assert orders[0] != orders[2]


def test_the_bound_holds_workers_back() -> None:
    order = schedule(300, 20, ExponentialDelays(), np.random.default_rng(0), max_staleness=3)

    assert max(staleness(order)) == 3


def test_in_the_warm_up_one_window_follows_another() -> None:
    order = schedule(300, 20, ExponentialDelays(), np.random.default_rng(0), warm_up=30)

    assert max(staleness(order)[:30]) == 0
    assert max(staleness(order)[30:]) > 10
