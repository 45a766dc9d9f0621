"""Replays of orders written by hand: sharding changes nothing, and a broken log is refused."""

from __future__ import annotations

import numpy as np
import pytest

from distrib.engines import virtual_async
from distrib.engines.asynchronous.replay import replay
from distrib.engines.virtual_async import Event, schedule
from distrib.parameter_store.layout import digests
from distrib.parameter_store.recording import order_logs, order_table
from distrib.parameter_store.shard import Served
from recsys.engines import ExponentialDelays
from recsys.errors import ConfigError, DataError
from tests.support.logs import small_log, small_recipe, trials

WINDOWS = 13
OFFLINE = {"kind": "distilled", "components": 2, "teacher": "offline"}


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return small_log(tmp_path_factory.mktemp("replay"))


@pytest.fixture(scope="module")
def trial(log):
    return trials(log, small_recipe(engine={"name": "async", "window": 3}), 1)[0]


def events(seed: int) -> list[Event]:
    return schedule(WINDOWS, 5, ExponentialDelays(), np.random.default_rng(seed))


def order(seed: int) -> list[Served]:
    """Return the order log of a shard that five workers used."""
    return [
        Served(lease=e.window, window=e.window, is_push=e.is_push, applied=e.is_push)
        for e in events(seed)
    ]


@pytest.fixture(scope="module")
def on_one_shard(log, trial):
    return replay(log, trial, [[order(0)]])


@pytest.mark.parametrize("shards", [2, 3])
def test_shards_that_served_in_one_order_give_what_one_shard_gives(
    log, trial, on_one_shard, shards
) -> None:
    assert replay(log, trial, [[order(0)] * shards]) == on_one_shard


def test_another_order_gives_another_model(log, trial, on_one_shard) -> None:
    assert replay(log, trial, [[order(1)]]) != on_one_shard


def test_what_came_to_nothing_changes_nothing(log, trial, on_one_shard) -> None:
    pulled_by_the_dead = Served(lease=99, window=4, is_push=False, applied=False)

    assert replay(log, trial, [[[pulled_by_the_dead, *order(0)]]]) == on_one_shard


def test_a_push_that_was_refused_is_refused_again(log, trial, on_one_shard) -> None:
    twice = [
        *order(0),
        Served(lease=99, window=4, is_push=False, applied=False),
        Served(lease=99, window=4, is_push=True, applied=False),
    ]

    assert replay(log, trial, [[twice]]) == on_one_shard


def test_a_change_carried_over_is_as_if_pulled_after_its_push(log, trial, on_one_shard) -> None:
    def line(window: int, is_push: bool, carried: int = -1) -> Served:
        return Served(
            lease=window, window=window, is_push=is_push, applied=is_push, carried=carried
        )

    one_by_one = [line(w, is_push) for w in range(WINDOWS) for is_push in (False, True)]
    ahead = [line(0, False)]
    for window in range(WINDOWS):
        ahead += [line(window + 1, False)] if window + 1 < WINDOWS else []
        ahead += [line(window, True, carried=window - 1)]

    assert replay(log, trial, [[ahead]]) == replay(log, trial, [[one_by_one]])


@pytest.fixture
def trained_virtually(monkeypatch) -> dict[str, str]:
    """Return what gets the digests of each model that virtual_async makes."""
    found: dict[str, str] = {}
    fill_arm = virtual_async.fill_arm

    def and_keep(arm, layout, replicas) -> None:
        found.clear()
        found.update(digests(arm, layout, replicas[0]))
        fill_arm(arm, layout, replicas)

    monkeypatch.setattr(virtual_async, "fill_arm", and_keep)
    return found


@pytest.mark.parametrize("arm", [{"kind": "single"}, OFFLINE], ids=["single", "offline"])
def test_an_order_trains_the_same_model_whether_replayed_or_in_virtual_async(
    log, monkeypatch, trained_virtually, arm
) -> None:
    common = {"window": 3, "delta_scale": 0.5}
    (real,) = trials(log, small_recipe(arm=arm, engine={"name": "async", **common}), 1)
    virtual = {"name": "virtual_async", "workers": 5, **common}
    (simulated,) = trials(log, small_recipe(arm=arm, engine=virtual), 1)
    phases = len(real.recipe.arm.phases)
    seeds = iter(range(phases))
    monkeypatch.setattr(virtual_async, "order_of", lambda *_: events(next(seeds)))

    virtual_async.train(log, [simulated])

    recorded = [[order(phase)] * 2 for phase in range(phases)]
    assert replay(log, real, recorded) == trained_virtually


def test_a_log_without_a_pull_is_refused(log, trial) -> None:
    with pytest.raises(DataError, match="a push whose pull is missing"):
        replay(log, trial, [[order(0), [e for e in order(0) if e.is_push]]])


def test_a_log_that_ends_early_is_refused(log, trial) -> None:
    with pytest.raises(DataError, match=f"not all of {WINDOWS} windows are pushed"):
        replay(log, trial, [[order(0)[:-1]]])


def test_a_trial_of_another_engine_is_refused(log) -> None:
    with pytest.raises(ConfigError, match="found local, expected async"):
        replay(log, trials(log, small_recipe(), 1)[0], [[order(0)]])


def test_order_logs_survive_being_a_table() -> None:
    phases = [[order(0), order(1)], [order(2), order(3)]]

    assert order_logs(order_table(phases)) == phases
