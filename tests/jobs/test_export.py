"""``soloist export``: from a trial with weights to a program that predicts the same."""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from distrib.engines.local import train
from distrib.errors import TrialFailed
from distrib.trials.remote_results import Results
from distrib.trials.results import write_trial
from jobs.command import BAD_INPUT, exit_on_error
from jobs.export import export
from jobs.replay import replay
from jobs.serve_cost import serve_cost
from recsys.errors import ConfigError, DataError
from recsys.serving.loader import load
from tests.support.logs import TRUTH, own_recipe, small_log, small_recipe, trials
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

    assert not (tmp_path / "program").exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-20]),
        lambda path: path.write_text("no parquet"),
        lambda path: changed(path, lambda table: table.drop(columns="logit")),
        lambda path: changed(path, lambda table: table.iloc[:0]),
        lambda path: changed(path, lambda table: table.iloc[::-1]),
        lambda path: changed(path, lambda table: table.assign(example=10**12)),
        lambda path: changed(path, lambda table: table.assign(example="one")),
        lambda path: changed(path, lambda table: table.assign(logit="one")),
        lambda path: changed(path, lambda table: table.assign(logit=float("nan"))),
    ],
)
def test_damaged_predictions_are_refused_in_one_line_before_a_program_is_written(
    trial, log, tmp_path, damage
):
    damaged = shutil.copytree(trial, tmp_path / "damaged")
    damage(damaged / "predictions.parquet")

    with pytest.raises(DataError, match=r"predictions.parquet: not the predictions") as refused:
        export(damaged, tmp_path / "program", data=log.directory)

    assert "\n" not in str(refused.value)
    assert not (tmp_path / "program").exists()


def changed(path, change):
    change(pd.read_parquet(path)).to_parquet(path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "[" * 100_000,
        lambda text: '{"a":' * 100_000,
        lambda text: "[]",
        lambda text: "{}",
        lambda text: re.sub(r'"init": \d+', '"init": -1', text),
        lambda text: re.sub(r'"init": \d+', '"init": "0"', text),
        lambda text: text.replace('"components": 2', '"components": 1000000000'),
    ],
)
def test_a_damaged_configuration_is_refused_in_one_line(trial, tmp_path, damage):
    damaged = shutil.copytree(trial, tmp_path / "damaged")
    path = damaged / "config.json"
    before = path.read_text()
    path.write_text(damage(before))
    assert path.read_text() != before

    with pytest.raises(DataError, match=r"config.json: not ") as refused:
        export(damaged, tmp_path / "program")

    assert "\n" not in str(refused.value)


@pytest.fixture(scope="module")
def foreign(log, tmp_path_factory):
    """A trial of a user's own model, which says that ``theirs.evil:make`` made it."""
    (one,) = trials(log, own_recipe("uneven"), 1)
    place = tmp_path_factory.mktemp("foreign")
    written = write_trial(place, one, train(log, [one])[0], keep_weights=True)
    path = written / "config.json"
    path.write_text(
        path.read_text().replace("tests.support.custom_model:uneven", "theirs.evil:make")
    )
    return written


@pytest.fixture
def evil(tmp_path, monkeypatch):
    """A module that leaves a mark where it is imported; returns the mark."""
    (tmp_path / "theirs").mkdir()
    mark = tmp_path / "mark"
    (tmp_path / "theirs/evil.py").write_text(f"open({str(mark)!r}, 'w')\nmake = None\n")
    monkeypatch.syspath_prepend(tmp_path)
    return mark


REFUSED = (
    "names the model theirs.evil:make, whose module is imported only by consent: "
    "pass --model theirs.evil:make, or --trust"
)


def test_the_module_that_results_name_is_imported_only_by_consent(foreign, log, evil, tmp_path):
    (foreign / "digests.json").write_text("{}")
    for command in (
        lambda: export(foreign, tmp_path / "program"),
        lambda: export(foreign, tmp_path / "program", data=log.directory, model=["mine:make"]),
        lambda: serve_cost([str(foreign)], data=log.directory),
        lambda: replay(foreign, data=log.directory),
    ):
        with pytest.raises(DataError, match=REFUSED):
            command()

    assert not evil.exists()
    assert not (tmp_path / "program").exists()


@pytest.mark.parametrize("consent", [{"model": ["theirs.evil:make"]}, {"trust": True}])
def test_with_consent_the_module_is_imported(foreign, evil, tmp_path, monkeypatch, consent):
    monkeypatch.delitem(sys.modules, "theirs.evil", raising=False)

    with pytest.raises(ConfigError, match=r"theirs.evil:make is a NoneType, expected a function"):
        export(foreign, tmp_path / "program", **consent)

    assert evil.exists()


def test_a_trial_of_a_users_model_is_exported_by_its_name(log, tmp_path):
    (one,) = trials(log, own_recipe("uneven"), 1)
    place = write_trial(tmp_path, one, train(log, [one])[0], keep_weights=True)

    export(place, tmp_path / "program", data=log.directory, model=[one.recipe.model.name])

    assert load(tmp_path / "program").description.model["name"] == one.recipe.model.name


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
        exit_on_error(export)(without.as_uri(), tmp_path / "program")

    told = capsys.readouterr().err
    assert ended.value.code == BAD_INPUT
    assert told.startswith(f"soloist: {without.as_uri()}/weights.json: not there; trials keep")
    assert told.count("\n") == 1


def test_an_output_at_a_uri_is_refused(trial):
    with pytest.raises(ConfigError, match="--output s3:/bucket/program: found a URI, expected"):
        export(trial, Path("s3://bucket/program"))


def test_an_output_that_cannot_be_replaced_is_refused_before_the_trial_is_looked_at(tmp_path):
    with pytest.raises(DataError, match=r"^/proc: found a mount point, which cannot be replaced"):
        export(str(tmp_path / "absent"), output=Path("/proc"))
