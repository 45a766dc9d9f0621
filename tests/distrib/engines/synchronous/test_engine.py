"""The sync engine on Ray: ranks and drivers die, rooms are small, and the model is the same."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from ray.util import placement_group_table

from distrib.engines import registry as engines
from distrib.engines.synchronous import checkpoints, driver
from distrib.engines.synchronous.driver import evaluated
from distrib.engines.synchronous.run import Run, run_name, training_digest
from distrib.errors import TrialFailed
from distrib.scheduling.runner import run_groups
from distrib.scheduling.status import Status
from distrib.trials.folder import Folder
from distrib.trials.grouping import Group
from distrib.trials.results import is_done, trial_directory
from recsys.errors import ConfigError
from tests.support.events import scalars
from tests.support.logs import TRUTH, own_recipe, small_log, small_recipe, trials
from tests.support.patience import PATIENCE_S
from tests.support.ranks import train_on
from tests.support.titles import processes_titled

pytestmark = [pytest.mark.usefixtures("ray_cluster"), pytest.mark.timeout(3 * PATIENCE_S)]
BATCH = 32
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return small_log(tmp_path_factory.mktemp("engine"), replace(TRUTH, rows=400))


def sync_recipe(make=small_recipe, epochs=1, **fields):
    return make(
        engine={"name": "sync", "checkpoint_every": 5, "track_every": 5},
        stream={"batch_size": BATCH, "epochs": epochs},  # 10 batches an epoch
        **fields,
    )


class Stopped(Exception):
    """What a test stops a driver with."""


def test_a_driver_that_stops_and_a_rank_that_is_killed_change_no_bit_of_the_model(
    pool, log, s3, tmp_path, monkeypatch
) -> None:
    mortal = {"options": {"place": str(tmp_path)}}  # waits after its second checkpoint
    recipe = sync_recipe(lambda **f: own_recipe("mortal", model=mortal, **f), epochs=4)
    replicas = trials(log, recipe, 2)
    uri = s3.uri(s3.new_bucket(), "results")
    run = Run(uri, run_name(replicas), None, tmp_path / "seen")
    told: list[int] = []

    def stop(examples: int) -> None:
        if run.newest(training_digest(replicas)) is not None:
            raise Stopped

    with pytest.raises(Stopped):
        engines.train(log, replicas, on_progress=stop, directory=uri)
    deadline = time.monotonic() + PATIENCE_S
    while processes_titled("RayTrainWorker") and time.monotonic() < deadline:
        time.sleep(0.1)
    left_behind = processes_titled("RayTrainWorker")
    begun = checkpoints.read_progress(run.newest(training_digest(replicas)))
    (tmp_path / "fate").touch()
    found = engines.train(log, replicas, on_progress=told.append, directory=uri)
    monkeypatch.setattr(driver, "Fit", None)
    again = engines.train(log, replicas, directory=uri)

    assert (tmp_path / "died").exists()
    assert left_behind == []
    pool.run(train_on, log.directory, replicas, tmp_path / "undisturbed")
    newest = checkpoints.newest(tmp_path / "undisturbed", training_digest(replicas))
    for ours, theirs in zip(found, evaluated(log, replicas, newest, CPU), strict=True):
        assert np.array_equal(ours.logit, theirs.logit)
        assert ours.cost.train_lookups == theirs.cost.train_lookups
        pd.testing.assert_frame_equal(ours.progress, theirs.progress)
    for ours, theirs in zip(again, found, strict=True):
        assert np.array_equal(ours.logit, theirs.logit)
    assert sum(told) == 2 * 4 * len(log.splits["train"])
    folder = Folder(uri, f"runs/{run_name(replicas)}")
    names = folder.files()
    kept = [name for name in names if name.endswith("progress.json")]
    assert len(kept) == recipe.engine.checkpoints_kept
    files = sorted(name for name in names if name.startswith("tensorboard/"))
    for name in files:
        folder.download(name, tmp_path)
    steps = [step for _, step, _ in scalars(tmp_path / files[-1])]
    assert begun.examples < steps[0]
    assert steps[-1] == 4 * len(log.splits["train"])
    tags = {tag for name in files for tag, _, _ in scalars(tmp_path / name)}
    assert {
        "loss/joint/objective/replica_0",
        "loss/progressive_log_loss/replica_1",
        "speed/joint/examples_per_second",
        "evaluation/log_loss/replica_0",
        "evaluation/auc/replica_1",
    } <= tags


def test_of_a_sweeps_trainings_one_at_a_time_waits_for_places_and_a_killed_ones_are_given_back(
    log, tmp_path
) -> None:
    mortal = {"options": {"place": str(tmp_path)}}  # waits to be killed from outside, here
    stream = {"batch_size": BATCH}
    all_cpus = {"name": "sync", "workers": 1, "resources": {"num_cpus": 2}, "checkpoint_every": 5}
    elastic = {"name": "sync", "workers": [1, 4], "track_every": 5}
    killed_once = own_recipe("mortal", model=mortal, engine=all_cpus, stream=stream | {"epochs": 2})
    taking_all = small_recipe(engine=elastic, stream=stream | {"epochs": 2})
    groups = [
        Group(title="elastic", trials=tuple(trials(log, taking_all, 2))),  # the largest comes first
        Group(title="watched", trials=tuple(trials(log, killed_once, 1))),
    ]
    killed: list[int] = []
    waiting: list[int] = []
    before = placement_group_table()

    def look(status: Status) -> None:
        waiting.append(sum(each.examples_done == 0 for each in status.running))
        begun = {each.title for each in status.running if each.examples_done > 6 * BATCH}
        if not killed and "watched" in begun:
            (process,) = processes_titled("ray::watched")
            os.kill(process, signal.SIGKILL)
            (tmp_path / "died").touch()
            killed.append(process)

    failures = run_groups(log, tmp_path, groups, observe=look)

    assert failures == []
    assert len(killed) == 1
    assert max(waiting) == 1
    assert all(is_done(tmp_path, trial) for group in groups for trial in group.trials)
    places = {k: each for k, each in placement_group_table().items() if k not in before}
    assert {each["state"] for each in places.values()} == {"REMOVED"}
    place = trial_directory(tmp_path, groups[0].trials[0])
    told = json.loads((place / "provenance.json").read_text())["sync"]
    assert (told["ranks"], told["ranks_at_the_end"]) == ([1, 4], 2)
    assert (tmp_path / "runs" / told["run"]).is_dir()


def test_a_checkpoint_of_the_end_is_evaluated_and_no_rank_starts(
    pool, log, tmp_path, monkeypatch
) -> None:
    trained = trials(log, sync_recipe(), 1)
    pool.run(train_on, log.directory, trained, tmp_path / "elsewhere")
    newest = checkpoints.newest(tmp_path / "elsewhere", training_digest(trained))
    monkeypatch.setattr(driver, "Fit", None)
    begun = small_recipe(
        engine={"name": "sync", "workers": 1, "resume": str(newest)}, stream={"batch_size": BATCH}
    )

    (found,) = engines.train(log, trials(log, begun, 1), directory=tmp_path)

    (expected,) = evaluated(log, trained, newest, CPU)
    assert np.array_equal(found.logit, expected.logit)
    assert found.provenance["sync"]["ranks_at_the_end"] == 2


def test_a_replica_that_diverges_ends_the_training_with_its_reason(log, tmp_path) -> None:
    wild = sync_recipe(optimizer={"sparse_learning_rate": 1e38, "dense_learning_rate": 1e38})

    with pytest.raises(TrialFailed, match="replica 0 of the 1 in this process diverged"):
        engines.train(log, trials(log, wild, 1), directory=tmp_path)


@pytest.mark.parametrize(
    ("engine", "says"),
    [
        ({"workers": 3}, "engine.workers: found 3 ranks of 1 CPU each, expected at most 2"),
        ({"workers": 1, "threads": 3}, "engine.threads: found 3 CPU, expected at most 2"),
        ({"device": "cuda"}, "engine.device: found cuda, but Ray has no GPU"),
        ({"precision": "float16"}, "engine.precision: found float16 on a CPU"),
        ({"sharding": "column_wise"}, "engine.sharding: found column_wise"),
        ({"table_sharding": {"cc0": "row_wise"}}, "engine.table_sharding.cc0: matches no table"),
        (
            {"resume": "/nowhere/checkpoint"},
            "engine.resume: /nowhere/checkpoint: not there, expected a checkpoint",
        ),
    ],
)
def test_what_cannot_work_is_refused_before_any_rank_starts(log, tmp_path, engine, says) -> None:
    recipe = small_recipe(engine={"device": "cpu", "name": "sync", **engine})

    with pytest.raises(ConfigError, match=re.escape(says)):
        engines.train(log, trials(log, recipe, 1), directory=tmp_path)

    assert not list(tmp_path.glob("runs/*/*"))
