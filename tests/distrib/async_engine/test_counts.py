"""Exactly once: whatever dies, every example counts once in every weight."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from distrib.async_engine import driver
from distrib.async_engine.crew import Crew
from distrib.engines import train
from distrib.replay import replay
from distrib.store.recording import order_logs
from recsys.config import Recipe
from tests.support.counting import by_table, counted, counting_fields
from tests.support.devices import WorkerThatRunsAhead
from tests.support.dying import (
    disturbed_worker,
    in_background,
    servers_alive,
    slow_worker,
    worker_whose_push_is_late,
    workers_alive,
)
from tests.support.logs import small_log, trials

pytestmark = [pytest.mark.usefixtures("ray_cluster"), pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return small_log(tmp_path_factory.mktemp("counts"))


def recipe(epochs: int, **engine: object) -> Recipe:
    settings = {"name": "async", "workers": 2, "shards": 2, "window": 1, "record": True}
    return Recipe.model_validate(counting_fields(32, epochs, **settings | engine))


def windows_applied(recording) -> list[list[int]]:
    """Return the windows that each shard applied, sorted."""
    applied = recording.order.query("is_push and applied")
    return [sorted(of_shard["window"]) for _, of_shard in applied.groupby("shard")]


def test_a_death_between_the_pushes_to_two_shards_and_nan_once_count_every_window_once(
    log, tmp_path, monkeypatch
) -> None:
    disturbed = disturbed_worker(tmp_path, dies_in=5, gets_nan_in=20)
    monkeypatch.setattr(driver, "Worker", disturbed)
    (trial,) = trials(log, recipe(1, lease_s=60), 1)

    (result,) = train(log, [trial])

    assert {path.name for path in tmp_path.iterdir()} == {"died", "got NaN"}
    order = result.recording.order.query("window == 20")
    assert [len(order.query("not is_push")), len(order.query("is_push"))] == [2 * 2, 2]
    assert by_table(result.recording.digests) == counted(log, 1)
    assert windows_applied(result.recording) == [list(range(38))] * 2
    again = replay(log, trial, order_logs(result.recording.order))
    assert again == result.recording.digests


def test_workers_whose_device_runs_ahead_count_every_example_once(log, monkeypatch) -> None:
    monkeypatch.setattr(driver, "Worker", WorkerThatRunsAhead)
    (trial,) = trials(log, recipe(2), 1)

    (result,) = train(log, [trial])

    assert by_table(result.recording.digests) == counted(log, 2)
    assert replay(log, trial, order_logs(result.recording.order)) == result.recording.digests


def test_every_example_counts_once_though_workers_shards_and_dispatcher_are_killed(
    log, tmp_path, monkeypatch
) -> None:
    pids, snapshots = tmp_path / "pids", tmp_path / "snapshots"
    pids.mkdir()
    monkeypatch.setattr(driver, "Worker", slow_worker(0.015, pids))
    rng = np.random.default_rng(1)
    victims = rng.permutation(["worker", "worker", "shard-0", "shard-1", "dispatcher"])
    saved = {"snapshots": str(snapshots), "snapshot_every": 25}
    (trial,) = trials(log, recipe(6, lease_s=60, **saved), 1)
    told: list[int] = []

    thread, outcome = in_background(lambda: train(log, [trial], on_progress=told.append))
    for number, victim in enumerate(victims, start=1):
        at = 1200 * number + rng.integers(300)
        _wait_until(thread, lambda at=at: sum(told) > at)
        living = workers_alive(pids) if victim == "worker" else servers_alive(victim)
        os.kill(rng.choice(living), signal.SIGKILL)
    thread.join()

    (result,) = outcome[0]
    assert by_table(result.recording.digests) == counted(log, 6)
    assert windows_applied(result.recording) == [list(range(6 * 38))] * 2
    assert sum(told) == 6 * len(log.splits["train"])


def test_a_push_that_comes_after_anothers_is_refused(log, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(driver, "Worker", worker_whose_push_is_late(tmp_path, 5))
    # Whoever hangs is ended as soon as it is silent; here that comes too late.
    monkeypatch.setattr(Crew, "dismiss", lambda self, names: None)
    (trial,) = trials(log, recipe(4, lease_s=1.0), 1)

    (result,) = train(log, [trial])

    late = result.recording.order.query("is_push and not applied")
    assert {(0, 5), (1, 5)} <= set(zip(late["shard"], late["window"], strict=True))
    assert by_table(result.recording.digests) == counted(log, 4)
    assert windows_applied(result.recording) == [list(range(4 * 38))] * 2


def test_a_worker_and_a_shard_that_hang_are_ended_and_every_example_counts_once(
    log, tmp_path, monkeypatch
) -> None:
    pids, snapshots = tmp_path / "pids", tmp_path / "snapshots"
    pids.mkdir()
    monkeypatch.setattr(driver, "Worker", slow_worker(0.02, pids))
    # The worker hangs before a snapshot with which the training goes on when the shard hung.
    saved = {"snapshots": str(snapshots), "snapshot_every": 25}
    (trial,) = trials(log, recipe(4, lease_s=1.0, **saved), 1)
    told: list[int] = []

    thread, outcome = in_background(lambda: train(log, [trial], on_progress=told.append))
    _wait_until(thread, lambda: sum(told) > 600)
    worker = workers_alive(pids)[0]
    os.kill(worker, signal.SIGSTOP)
    _wait_until(thread, lambda: sum(told) > 2400)
    with suppress(ProcessLookupError):  # it may have been killed as it hung
        os.kill(worker, signal.SIGCONT)
    (shard,) = servers_alive("shard-1")
    os.kill(shard, signal.SIGSTOP)
    thread.join()

    (result,) = outcome[0]
    assert by_table(result.recording.digests) == counted(log, 4)
    assert windows_applied(result.recording) == [list(range(4 * 38))] * 2
    assert not Path(f"/proc/{worker}").exists()
    assert not Path(f"/proc/{shard}").exists()


def test_what_starts_again_starts_from_the_beginning_not_from_what_was_evaluated(
    log, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(driver, "Worker", slow_worker(0.02, tmp_path))
    engine = {"name": "async", "workers": 1, "window": 1, "record": True, "lease_s": 60}
    fields = counting_fields(32, 2, **engine)
    fields["evaluation"] = {"points": 20, "progress_examples": 20}
    (trial,) = trials(log, Recipe.model_validate(fields), 1)
    told: list[int] = []

    thread, outcome = in_background(lambda: train(log, [trial], on_progress=told.append))
    _wait_until(thread, lambda: sum(told) > 800)
    (shard,) = servers_alive("shard-0")
    os.kill(shard, signal.SIGKILL)
    thread.join()

    (result,) = outcome[0]
    assert by_table(result.recording.digests) == counted(log, 2)
    assert result.progress["examples"].is_monotonic_increasing


def _wait_until(thread, condition) -> None:
    while thread.is_alive() and not condition():
        time.sleep(0.02)
