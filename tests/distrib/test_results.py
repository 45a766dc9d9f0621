"""Trial directories appear whole or not at all, named by what decides them."""

from __future__ import annotations

import json
from dataclasses import replace

import pandas as pd
import pytest

from distrib import results
from distrib.local import train
from distrib.results import is_done, trial_directory, write_trial
from recsys.config import OptimizerConfig
from recsys.seeds import Seeds
from tests.support.logs import small_log, small_recipe, trials


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    log = small_log(tmp_path_factory.mktemp("results"))
    one = trials(log, small_recipe(), 1)
    return one[0], train(log, one)[0]


def test_a_trial_directory_holds_what_the_contract_names(trained, tmp_path) -> None:
    trial, result = trained

    place = write_trial(tmp_path, trial, result)

    assert place == tmp_path / "trials" / trial.digest
    assert sorted(path.name for path in place.iterdir()) == [
        "DONE",
        "config.json",
        "cost.json",
        "metrics.json",
        "predictions.parquet",
        "progress.parquet",
        "progress_predictions.parquet",
        "provenance.json",
    ]
    predictions = pd.read_parquet(place / "predictions.parquet")
    assert dict(predictions.dtypes.astype(str)) == {
        "example": "int64",
        "group": "int64",
        "label": "float32",
        "logit": "float32",
    }
    assert predictions["logit"].tolist() == result.logit.tolist()
    assert json.loads((place / "config.json").read_text()) == trial.as_dict()


def test_a_metric_that_the_data_leave_undefined_is_null(trained, tmp_path) -> None:
    trial, result = trained
    ungrouped = replace(result, metrics=result.metrics | {"gauc": float("nan")})

    place = write_trial(tmp_path, trial, ungrouped)

    assert json.loads((place / "metrics.json").read_text())["gauc"] is None
    assert "NaN" not in (place / "metrics.json").read_text()


def test_a_write_that_breaks_off_leaves_nothing(trained, tmp_path, monkeypatch) -> None:
    trial, result = trained

    def full_disk(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(results, "_write_json", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_trial(tmp_path, trial, result)

    assert not is_done(tmp_path, trial)
    assert list((tmp_path / "trials").iterdir()) == []


def test_what_a_failed_try_left_gives_way_to_the_result(trained, tmp_path) -> None:
    trial, result = trained
    place = trial_directory(tmp_path, trial)
    place.mkdir(parents=True)
    (place / "error.txt").write_text("Traceback")

    write_trial(tmp_path, trial, result)

    assert is_done(tmp_path, trial)
    assert not (place / "error.txt").exists()


def test_a_trial_s_name_follows_from_all_that_decides_it(trained) -> None:
    trial, _ = trained
    slower = trial.recipe.model_copy(
        update={"optimizer": OptimizerConfig(dense_learning_rate=0.001)}
    )
    others = [
        replace(trial, seeds=Seeds(shuffle=99)),
        replace(trial, recipe=slower),
        replace(trial, data_fingerprint="other"),
    ]

    assert replace(trial).digest == trial.digest
    assert len({trial.digest, *(other.digest for other in others)}) == 4
