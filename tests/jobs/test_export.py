"""``soloist export``: from a trial with weights to a program that predicts the same."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from distrib.errors import TrialFailed
from distrib.local import train
from distrib.remote import Results
from distrib.results import write_trial
from jobs.command import BAD_INPUT, guarded
from jobs.export import export
from recsys.errors import ConfigError, DataError
from recsys.serving.loader import load
from tests.support.logs import TRUTH, small_log, small_recipe, trials
from tests.support.sweeps import write_manifest_of


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return small_log(tmp_path_factory.mktemp("log"))


@pytest.fixture(scope="module")
def trained(log):
    (one,) = trials(log, small_recipe(arm={"kind": "codistilled"}), 1)
    return one, train(log, [one])[0]


@pytest.fixture(scope="module")
def trial(trained, tmp_path_factory):
    """The directory of a finished trial with weights."""
    return write_trial(tmp_path_factory.mktemp("trial"), *trained, keep_weights=True)


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


def test_an_arm_of_a_sweep_is_exported_by_its_name(trial, log, tmp_path):
    arms = {"relu": ["trials/none"], "pair": [f"trials/{trial.name}"]}
    sweep = write_manifest_of(trial.parents[1], arms)

    export(sweep, tmp_path / "program", data=log.directory, arm="pair")

    assert load(tmp_path / "program").description.trial["name"] == trial.name


@pytest.mark.parametrize("by", ["trial", "arm"])
def test_a_trial_at_a_uri_is_exported_under_its_own_name(trained, log, s3, tmp_path, by):
    one, result = trained
    bucket = s3.new_bucket()
    uri = s3.uri(bucket, "results")
    Results(directory=tmp_path, uri=uri).write(one, result, keep_weights=True)
    with_manifest = write_manifest_of(tmp_path / "sweep", {"pair": [f"trials/{one.digest}"]})
    manifest = (with_manifest / "sweep.json").read_bytes()
    s3.client().put_object(Bucket=bucket, Key="results/sweep.json", Body=manifest)

    if by == "trial":
        export(s3.uri(bucket, f"results/trials/{one.digest}"), tmp_path / "program")
    else:
        export(uri, tmp_path / "program", data=log.directory, arm="pair", replica=0)

    assert load(tmp_path / "program").description.trial["name"] == one.digest


def test_a_trial_at_a_uri_without_weights_is_refused_by_its_uri(trial, tmp_path, capsys):
    without = shutil.copytree(trial, tmp_path / "without")
    (without / "weights.json").unlink()

    with pytest.raises(SystemExit) as ended:
        guarded(export)(without.as_uri(), tmp_path / "program")

    told = capsys.readouterr().err
    assert ended.value.code == BAD_INPUT
    assert told.startswith(f"soloist: {without.as_uri()}/weights.json: not there; the weights")
    assert told.count("\n") == 1


def test_an_output_at_a_uri_is_refused(trial):
    with pytest.raises(ConfigError, match="--output s3:/bucket/program: found a URI, expected"):
        export(trial, Path("s3://bucket/program"))


def test_an_output_that_cannot_be_replaced_is_refused_before_the_trial_is_looked_at(tmp_path):
    with pytest.raises(DataError, match=r"^/proc: found a mount point, which cannot be replaced"):
        export(str(tmp_path / "absent"), output=Path("/proc"))
