"""One replica, in this process."""

from __future__ import annotations

import json

import pytest

from distrib.results import is_done
from jobs.loading import load_experiment
from jobs.planning import plan
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


def test_weights_without_a_place_to_keep_them_are_refused(experiment):
    with pytest.raises(ConfigError, match="--keep-weights: found no --output"):
        train(experiment, "relu", keep_weights=True)
