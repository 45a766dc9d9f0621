"""``soloist export``: from a trial with weights to a program that predicts the same."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pandas as pd
import pytest

from distrib.errors import TrialFailed
from distrib.local import train
from distrib.results import write_trial
from jobs.export import export
from recsys.errors import DataError
from recsys.serving.loader import load
from tests.support.logs import TRUTH, small_log, small_recipe, trials


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return small_log(tmp_path_factory.mktemp("log"))


@pytest.fixture(scope="module")
def trial(log, tmp_path_factory):
    """The directory of a finished trial with weights."""
    (one,) = trials(log, small_recipe(arm={"kind": "codistilled"}), 1)
    (result,) = train(log, [one])
    return write_trial(tmp_path_factory.mktemp("trial"), one, result, keep_weights=True)


def test_a_trial_becomes_a_program_that_predicts_the_same(trial, log, tmp_path, capsys):
    export(trial, tmp_path / "program", data=log.directory)

    first, second = capsys.readouterr().out.splitlines()
    described = load(tmp_path / "program").description
    assert first == f"{tmp_path / 'program'}: codistilled relu K=2, 4 tables"
    assert float(second.removeprefix("largest difference of a prediction: ")) < 1e-6
    assert described.trial["name"] == trial.name
    assert described.schema == log.schema


def test_a_program_that_does_not_predict_what_its_trial_did_ends_with_status_1(
    trial, log, tmp_path
):
    changed = shutil.copytree(trial, tmp_path / "changed")
    predictions = pd.read_parquet(changed / "predictions.parquet")
    predictions.loc[3, "logit"] += 0.01
    predictions.to_parquet(changed / "predictions.parquet")

    with pytest.raises(TrialFailed, match=rf"for example {predictions['example'][3]}, expected"):
        export(changed, tmp_path / "program", data=log.directory)


def test_a_trial_without_weights_is_refused_with_how_to_get_them(trial, tmp_path):
    without = shutil.copytree(trial, tmp_path / "without")
    (without / "weights.json").unlink()

    with pytest.raises(DataError, match="soloist sweep EXPERIMENT --keep-weights"):
        export(without, tmp_path / "program")

    assert not (tmp_path / "program").exists()


def test_another_click_log_is_refused(trial, tmp_path):
    other = small_log(tmp_path, replace(TRUTH, seed=5))

    with pytest.raises(DataError, match="not the click log that"):
        export(trial, tmp_path / "program", data=other.directory)
