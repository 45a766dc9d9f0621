"""Groups of trials on a real Ray, whose processes are killed."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from ray.util import placement_group_table

from distrib.engines.registry import train
from distrib.scheduling import group_task
from distrib.scheduling.group_task import GroupOutcome, Stopped
from distrib.scheduling.runner import run_groups
from distrib.scheduling.status import Status
from distrib.trials.grouping import Group
from distrib.trials.remote_results import Results
from distrib.trials.results import is_done, trial_directory, write_trial
from distrib.trials.trial import Trial
from recsys.config import Recipe
from recsys.data.click_log import ClickLog
from tests.support.logs import own_recipe, small_log, small_recipe, trials
from tests.support.titles import processes_titled

pytestmark = pytest.mark.usefixtures("ray_cluster")
ALL_CPUS = {"resources": {"num_cpus": 2}}
"""Of the cluster: trainings that ask for them come one after another"""


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> ClickLog:
    return small_log(tmp_path_factory.mktemp("runner"))


def logits(directory: Path, trial: Trial) -> list[float]:
    return pd.read_parquet(trial_directory(directory, trial) / "predictions.parquet").logit.tolist()


def provenance(directory: Path, trial: Trial) -> dict[str, Any]:
    return json.loads((trial_directory(directory, trial) / "provenance.json").read_text())


def running_workers() -> list[int]:
    """Return the processes that train a group on this machine, by Ray's name for them."""
    return processes_titled("ray::victim")


def in_background(function: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread


def test_a_group_trains_in_another_process_as_the_engine_trains_it_here(log, tmp_path):
    group = Group(title="relu", trials=tuple(trials(log, small_recipe(), 2)))
    seen: list[Status] = []

    failures = run_groups(log, tmp_path / "ray", [group], observe=seen.append)

    for trial, result in zip(group.trials, train(log, group.trials), strict=True):
        write_trial(tmp_path / "here", trial, result)
        assert logits(tmp_path / "ray", trial) == logits(tmp_path / "here", trial)
        assert provenance(tmp_path / "ray", trial)["fused_replicas"] == 2
    assert failures == []
    assert (seen[0].trials_done, seen[0].trials) == (0, 2)
    (waiting,) = seen[0].running
    assert (waiting.title, waiting.examples) == ("relu", group.examples(log))
    assert waiting.trials == tuple(trial.digest for trial in group.trials)
    assert seen[-1].running == ()
    assert seen[-1].trials_done == 2
    assert seen[-1].examples_done == group.examples(log) == 2 * len(log.splits["train"])
    assert seen[-1].work_done == seen[-1].work == group.work(log)


def processes_of(log, directory: Path, recipe: Recipe, groups: int) -> int:
    """Return in how many processes groups of one trial were trained one after another."""
    one_each = [Group(title="victim", trials=(trial,)) for trial in trials(log, recipe, groups)]
    seen: set[int] = set()
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.01):
            seen.update(running_workers())

    looking = in_background(look)
    failures = run_groups(log, directory, one_each)
    over.set()
    looking.join()
    assert failures == []
    return len(seen)


def test_a_process_trains_one_group_after_another(log, tmp_path):
    recipe = small_recipe(engine=ALL_CPUS)

    assert processes_of(log, tmp_path, recipe, 4) < 4  # Ray has more than one to choose from


def test_a_users_own_model_gets_a_process_that_nothing_else_was_trained_in(log, tmp_path):
    (place := tmp_path / "processes").mkdir()
    recipe = own_recipe("signed", model={"options": {"place": str(place)}}, engine=ALL_CPUS)
    own = [Group(title="own", trials=(trial,)) for trial in trials(log, recipe, 2)]

    failures = run_groups(log, tmp_path, own)

    assert failures == []
    assert len({path.name for path in place.iterdir()} - {str(os.getpid())}) == 2


def test_a_failing_trial_leaves_its_traceback_and_takes_no_other_with_it(log, tmp_path):
    # A learning rate at the end of float32 makes the first step infinite, and predictions NaN.
    poisoned = small_recipe(optimizer={"sparse_learning_rate": 1e38, "dense_learning_rate": 1e38})
    bad = Group(title="poisoned", trials=tuple(trials(log, poisoned, 2)))
    good = Group(title="good", trials=tuple(trials(log, small_recipe(), 1)))

    failures = run_groups(log, tmp_path, [bad, good])

    assert is_done(tmp_path, good.trials[0])
    assert {failure.trial.digest for failure in failures} == {t.digest for t in bad.trials}
    for failure in failures:
        assert failure.title == "poisoned"
        assert "replica 0 of the 1 in this process diverged" in failure.reason
        assert "\n" not in failure.reason
        report = failure.report.read_text()
        assert report.startswith(f"{failure.reason}\n\nTraceback (most recent call last)")
        assert not is_done(tmp_path, failure.trial)


def test_a_click_log_that_became_unreadable_fails_the_group_once(log, tmp_path):
    moved = small_log(tmp_path)
    group = Group(title="relu", trials=tuple(trials(moved, small_recipe(), 2)))
    (moved.directory / "label.npy").unlink()

    failures = run_groups(moved, tmp_path / "sweep", [group])

    assert [failure.reason.split(":")[0] for failure in failures] == ["DataError", "DataError"]
    assert "label.npy" in failures[0].reason


def test_trials_of_another_click_log_are_refused(log, tmp_path):
    strange = [
        Trial(recipe=trial.recipe, seeds=trial.seeds, data_fingerprint="another")
        for trial in trials(log, small_recipe(), 1)
    ]

    (failure,) = run_groups(log, tmp_path, [Group(title="relu", trials=tuple(strange))])

    assert "not the click log that the sweep was planned with" in failure.reason


def test_a_trial_that_waits_for_what_no_node_has_is_told_of(log, tmp_path, monkeypatch, caplog):
    # A cluster that may grow, as far as a driver can tell.
    monkeypatch.setattr(
        "distrib.scheduling.runner.living_nodes", lambda: [{"CPU": 2.0}, {"CPU": 1.0}]
    )
    monkeypatch.setattr("distrib.scheduling.runner.WAIT_S", 0.0)
    spott = small_recipe(engine={"resources": {"custom": {"spott": 1}}})
    group = Group(title="relu", trials=tuple(trials(log, spott, 1)))

    def leave(_: Status) -> None:
        if caplog.messages:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_groups(log, tmp_path, [group], observe=leave)

    (told,) = caplog.messages
    assert told.startswith("relu: still waits for a node with 1 CPU, 1 spott, which none has")


def test_a_result_that_the_driver_does_not_see_is_no_result(log, tmp_path, monkeypatch):
    # As where the directory is on each node's own disk.
    monkeypatch.setattr("distrib.trials.remote_results.Results.receive", lambda *_: False)
    group = Group(title="relu", trials=tuple(trials(log, small_recipe(), 1)))

    (failure,) = run_groups(log, tmp_path, [group])

    assert "expected a directory that all nodes reach, or a URI" in failure.reason


def test_a_result_that_cannot_be_fetched_at_once_is_asked_for_again(log, tmp_path, monkeypatch):
    receive, refused = Results.receive, []

    def receive_later(results: Results, trial: Trial) -> bool:
        if not refused:
            refused.append(trial)
            raise OSError("network is down")
        return receive(results, trial)

    monkeypatch.setattr(Results, "receive", receive_later)
    monkeypatch.setattr("distrib.scheduling.runner._PAUSES_S", (0,))
    group = Group(title="relu", trials=tuple(trials(log, small_recipe(), 1)))

    failures = run_groups(log, tmp_path, [group])

    assert refused == list(group.trials)
    assert failures == []
    assert is_done(tmp_path, group.trials[0])


def test_a_training_asks_for_the_same_again_when_its_node_died(log, tmp_path, monkeypatch):
    # All that is left then is a head without what it needs.
    nodes = [[{"CPU": 2.0}, {"CPU": 2.0}], [{"CPU": 0.5}]]
    monkeypatch.setattr("distrib.scheduling.runner.living_nodes", lambda: nodes.pop(0))
    ended = group_task.stopped
    lost = Stopped(ending=GroupOutcome.NODE_DIED, reason="NodeDiedError", text="")
    first = [lost]
    monkeypatch.setattr(
        "distrib.scheduling.runner.stopped",
        lambda reference: first.pop() if first else ended(reference),
    )
    group = Group(title="relu", trials=tuple(trials(log, small_recipe(), 1)))

    failures = run_groups(log, tmp_path, [group])

    assert first == failures == []
    assert is_done(tmp_path, group.trials[0])


def victim(log, place: Path, times: int, end: signal.Signals) -> Group:
    """Return a group whose process gets a signal in the middle of training, so many times."""
    options = {"place": str(place), "times": times, "signal_number": int(end)}
    recipe = own_recipe("doomed", model={"options": options})
    return Group(title="victim", trials=tuple(trials(log, recipe, 1)))


def test_a_killed_worker_is_replaced(log, tmp_path):
    group = victim(log, tmp_path, 1, signal.SIGKILL)

    failures = run_groups(log, tmp_path, [group])

    assert (tmp_path / "end_0").exists()
    assert failures == []
    assert is_done(tmp_path, group.trials[0])


def test_a_stuck_worker_is_killed_and_replaced(log, tmp_path, caplog, monkeypatch):
    group = victim(log, tmp_path, 1, signal.SIGSTOP)
    now_s = [0.0]
    clock = SimpleNamespace(monotonic=lambda: now_s[0], sleep=time.sleep)
    monkeypatch.setattr("distrib.scheduling.runner.time", clock)

    def wait_for_the_stuck_alone(_: Status) -> None:
        if (tmp_path / "end_0").exists() and not caplog.messages:
            now_s[0] += 1000

    failures = run_groups(log, tmp_path, [group], observe=wait_for_the_stuck_alone, stall_s=10)

    assert failures == []
    assert is_done(tmp_path, group.trials[0])
    assert caplog.messages == ["victim: no progress for 10 s: retry"]


def test_a_worker_that_dies_three_times_fails_its_trial(log, tmp_path):
    (failure,) = run_groups(log, tmp_path, [victim(log, tmp_path, 5, signal.SIGKILL)])

    assert sorted(path.name for path in tmp_path.glob("end_*")) == ["end_0", "end_1", "end_2"]
    assert failure.title == "victim"
    assert "WorkerCrashedError" in failure.report.read_text()


def test_workers_of_a_training_get_reserved_places_which_are_given_back(log, tmp_path):
    together = {"name": "async", "workers": 2, "resources": {"placement": "PACK"}}
    group = Group(title="together", trials=tuple(trials(log, small_recipe(engine=together), 1)))
    before = placement_group_table()

    failures = run_groups(log, tmp_path, [group])

    reserved = {k: v for k, v in placement_group_table().items() if k not in before}
    (place,) = reserved.values()
    assert failures == []
    assert is_done(tmp_path, group.trials[0])
    assert list(place["bundles"].values()) == [{"CPU": 1.0}, {"CPU": 1.0}]
    assert place["state"] == "REMOVED"
