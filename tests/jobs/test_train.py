"""One replica, in this process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distrib.trials.results import is_done
from jobs.experiment.loading import load_experiment
from jobs.experiment.planning import plan
from jobs.replay import replay
from jobs.train import train
from recsys.errors import ConfigError
from tests.support.experiments import small_experiment, write_experiment
from tests.support.logs import small_log


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return small_log(tmp_path_factory.mktemp("train"))


@pytest.fixture
def experiment(log, tmp_path) -> str:
    return str(write_experiment(tmp_path / "small.yaml", small_experiment(log.directory)))


def test_a_replica_is_kept_where_a_sweep_finds_it(experiment, log, tmp_path, capsys):
    _, smelu = plan(load_experiment(experiment), log)

    train(experiment, "smelu", replica=1, output=tmp_path, keep_weights=True)

    place, *lines = capsys.readouterr().out.splitlines()
    printed = dict(line.split() for line in lines)
    metrics = json.loads((tmp_path / place / "metrics.json").read_text())
    assert [is_done(tmp_path, trial, weights=True) for trial in smelu.trials] == [False, True]
    assert float(printed["log_loss"]) == pytest.approx(metrics["log_loss"], rel=1e-5)


def test_an_unknown_arm_is_refused_with_the_nearest_one(experiment):
    with pytest.raises(ConfigError, match="did you mean 'smelu'"):
        train(experiment, "smel")


def test_a_replica_that_the_arm_lacks_is_refused(experiment):
    with pytest.raises(ConfigError, match="found 2, expected less than the arm's 2"):
        train(experiment, "relu", replica=2)


@pytest.mark.parametrize("option", ["keep_weights", "record"])
def test_what_is_to_be_kept_without_a_place_to_keep_it_is_refused(experiment, option):
    name = option.replace("_", "-")
    with pytest.raises(ConfigError, match=f"--{name}: found no --output"):
        train(experiment, "relu", ["arms.relu.engine.name=async"], **{option: True})


@pytest.mark.usefixtures("ray_cluster")
def test_a_recorded_replica_can_be_replayed(experiment, log, tmp_path, capsys):
    asynchronous = ["arms.relu.engine.name=async", "arms.relu.engine.workers=1"]
    train(experiment, "relu", asynchronous, output=tmp_path, record=True)
    place = capsys.readouterr().out.splitlines()[0]

    replay(Path(place), log.directory)

    assert "tensors are bitwise identical" in capsys.readouterr().out


def test_a_replica_of_an_engine_that_keeps_no_order_is_not_recorded(experiment, tmp_path):
    with pytest.raises(ConfigError, match=r"--record: found engine local for arms\.relu"):
        train(experiment, "relu", output=tmp_path, record=True)
