"""Exactly once: whatever dies, every example counts once in every weight."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import pytest

from distrib.engines.asynchronous import driver, stores
from distrib.engines.asynchronous import phase_runner as generation
from distrib.engines.asynchronous.replay import replay
from distrib.engines.asynchronous.worker_pool import WorkerPool
from distrib.engines.registry import train
from distrib.parameter_store.recording import order_logs
from distrib.training.evaluator import Evaluator
from recsys.config import Recipe
from tests.support.counting import by_table, counted, counting_fields
from tests.support.crashing import (
    disturbed_worker,
    in_background,
    server_alive,
    shard_that_hangs,
    slow_worker,
    worker_that_hangs,
    worker_whose_push_is_late,
)
from tests.support.devices import WorkerThatRunsAhead
from tests.support.dispatchers import dispatcher_that_misses, open_gate
from tests.support.logs import small_log, trials
from tests.support.patience import wait_until
from tests.support.signed import lives, living, signed_by

pytestmark = [pytest.mark.usefixtures("ray_cluster"), pytest.mark.timeout(600)]
LEASE_S = 300.0
"""Nobody is missed for being slow, unless a test says so"""


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return small_log(tmp_path_factory.mktemp("counts"))


def recipe(epochs: int, **engine: object) -> Recipe:
    settings = {"name": "async", "workers": 2, "shards": 2, "window": 1, "record": True}
    settings["lease_s"] = LEASE_S
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
    (trial,) = trials(log, recipe(1), 1)

    (result,) = train(log, [trial])

    assert {path.name for path in tmp_path.iterdir()} == {"died", "got NaN"}
    lease = int((tmp_path / "got NaN").read_text())
    order = result.recording.order.query("window == 20")
    refused = order[order["lease"] == lease]
    assert refused["is_push"].tolist() == [False, False]  # pulled from both shards, never pushed
    assert order.query("is_push")["applied"].tolist() == [True, True]
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
    log, tmp_path, monkeypatch, gate
) -> None:
    (pids := tmp_path / "pids").mkdir()
    monkeypatch.setattr(driver, "Worker", slow_worker(0.015, pids))
    rng = np.random.default_rng(1)
    victims = rng.permutation(["worker", "worker", "shard-0", "shard-1", "dispatcher"])
    saved = {"snapshots": str(tmp_path / "snapshots"), "snapshot_every": 25}
    (trial,) = trials(log, recipe(6, **saved), 1)
    told: list[int] = []

    thread, outcome = in_background(lambda: train(log, [trial], on_progress=told.append))
    for number, victim in enumerate(victims, start=1):
        at = 1200 * number + rng.integers(300)
        open_gate(gate, at // 32 + 30)  # enough to be busy with, never all there is
        _wait_until(thread, lambda at=at: sum(told) > at)
        if victim == "worker":
            victim_pid = rng.choice([worker.pid for worker in living(pids)])
        else:
            victim_pid = server_alive(victim)
        os.kill(victim_pid, signal.SIGKILL)
    open_gate(gate, 6 * 38)
    thread.join()

    (result,) = outcome[0]
    assert by_table(result.recording.digests) == counted(log, 6)
    assert windows_applied(result.recording) == [list(range(6 * 38))] * 2
    assert sum(told) == 6 * len(log.splits["train"])


def test_a_push_that_comes_after_anothers_is_refused(log, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(driver, "Worker", worker_whose_push_is_late(tmp_path, 5, 4 * 38 - 1))
    # Whoever hangs is ended as soon as it is silent; here that comes too late.
    monkeypatch.setattr(WorkerPool, "kill", lambda self, names: None)
    monkeypatch.setattr(stores, "_SILENT_LEASES", 600)  # all shards are well, if slow
    (trial,) = trials(log, recipe(4, lease_s=1.0), 1)

    (result,) = train(log, [trial])

    late = result.recording.order.query("is_push and not applied")
    assert {(0, 5), (1, 5)} <= set(zip(late["shard"], late["window"], strict=True))
    assert by_table(result.recording.digests) == counted(log, 4)
    assert windows_applied(result.recording) == [list(range(4 * 38))] * 2


def test_a_worker_and_a_shard_that_hang_are_ended_and_every_example_counts_once(
    log, tmp_path, monkeypatch
) -> None:
    worker, shard = tmp_path / "worker", tmp_path / "shard"
    # The worker hangs before a snapshot with which the training goes on when the shard hung.
    monkeypatch.setattr(driver, "Worker", worker_that_hangs(20, worker))
    monkeypatch.setattr(stores, "ShardServer", shard_that_hangs(80, shard))
    monkeypatch.setattr(generation, "Dispatcher", dispatcher_that_misses(20, worker))
    monkeypatch.setattr(stores, "_SILENT_LEASES", 4 / LEASE_S)
    saved = {"snapshots": str(tmp_path / "snapshots"), "snapshot_every": 25}
    (trial,) = trials(log, recipe(4, **saved), 1)

    (result,) = train(log, [trial])

    assert by_table(result.recording.digests) == counted(log, 4)
    assert windows_applied(result.recording) == [list(range(4 * 38))] * 2
    wait_until(lambda: not lives(signed_by(worker)))
    wait_until(lambda: not lives(signed_by(shard)))


def test_what_starts_again_starts_from_the_beginning_not_from_what_was_evaluated(
    log, monkeypatch, gate
) -> None:
    engine = {"name": "async", "workers": 1, "window": 1, "record": True, "lease_s": LEASE_S}
    fields = counting_fields(32, 2, **engine)
    fields["evaluation"] = {"points": 20, "progress_examples": 20}
    (trial,) = trials(log, Recipe.model_validate(fields), 1)
    evaluated: list[Evaluator] = []
    evaluate = Evaluator.evaluate
    monkeypatch.setattr(
        Evaluator, "evaluate", lambda watch, arm: evaluated.append(watch) or evaluate(watch, arm)
    )
    open_gate(gate, 30)

    thread, outcome = in_background(lambda: train(log, [trial]))
    _wait_until(thread, lambda: len(evaluated) > 0)
    os.kill(server_alive("shard-0"), signal.SIGKILL)
    open_gate(gate, 2 * 38)
    thread.join()

    (result,) = outcome[0]
    assert by_table(result.recording.digests) == counted(log, 2)
    assert result.progress["examples"].is_monotonic_increasing


def _wait_until(thread, condition) -> None:
    while not condition():
        assert thread.is_alive()
        time.sleep(0.02)
