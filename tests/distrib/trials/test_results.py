"""Trial directories appear whole or not at all, named by what decides them."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier, get_ident

import pandas as pd
import pytest

from distrib.engines.local import train
from distrib.trials import results
from distrib.trials.results import is_done, read_trial, trial_directory, write_trial
from recsys.config import OptimizerConfig
from recsys.errors import DataError
from recsys.models.config import CustomModelConfig
from recsys.seeds import Seeds
from recsys.serving.weights import read_weights
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


KEPT_AT = [
    {"name": "async", "snapshots": "s3://AKIA:{}@bucket/x"},
    {"name": "sync", "storage": "s3://AKIA:{}@bucket/x"},
    {"name": "sync", "resume": "s3://AKIA:{}@bucket/x"},
]


@pytest.mark.parametrize("engine", KEPT_AT, ids=lambda engine: list(engine)[1])
def test_where_an_engine_keeps_files_is_no_part_of_a_trial(engine, tmp_path) -> None:
    log = small_log(tmp_path)
    field = list(engine)[1]

    def of(place: str | None):
        return trials(log, small_recipe(engine=engine | {field: place}), 1)[0]

    first, rotated, none = of(engine[field].format("SEC/RET")), of("s3://K:NEW@bucket/x"), of(None)

    assert "SEC" not in json.dumps(first.as_dict())
    assert first.digest == rotated.digest == none.digest
    assert getattr(first.recipe.engine, field) == engine[field].format("SEC/RET")


def test_a_models_option_keeps_its_credentials_to_itself(trained) -> None:
    def with_option(uri: str):
        model = CustomModelConfig(
            name="tests.support.custom_model:small", options={"vectors": [uri]}
        )
        return replace(
            trained[0],
            recipe=small_recipe().model_copy(update={"model": model}),
        )

    first, rotated = with_option("s3://K:SEC/RET@b/v"), with_option("s3://K:NEW@b/v")
    other = with_option("s3://K:NEW@b/w")

    assert first.as_dict()["recipe"]["model"]["options"] == {"vectors": ["s3://b/v"]}
    assert first.digest == rotated.digest != other.digest


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


def test_weights_that_are_asked_for_are_there_when_the_trial_is_done(trained, tmp_path) -> None:
    trial, result = trained

    place = write_trial(tmp_path, trial, result, keep_weights=True)

    assert is_done(tmp_path, trial, weights=True)
    found = read_weights(place).tables
    assert {name: rows.tolist() for name, rows in found.items()} == {
        name: rows.tolist() for name, rows in result.served_weights().tables.items()
    }


def test_a_result_without_the_weights_that_are_asked_for_gives_way_as_a_whole(
    trained, tmp_path
) -> None:
    trial, result = trained
    place = write_trial(tmp_path, trial, result)
    (place / "mark").touch()
    done_before = is_done(tmp_path, trial, weights=True)

    write_trial(tmp_path, trial, result, keep_weights=True)

    assert not done_before
    assert is_done(tmp_path, trial, weights=True)
    assert not (place / "mark").exists()
    assert [path.name for path in (tmp_path / "trials").iterdir()] == [trial.digest]


def test_a_result_with_weights_stays_when_it_is_trained_again_without(trained, tmp_path) -> None:
    trial, result = trained
    write_trial(tmp_path, trial, result, keep_weights=True)

    write_trial(tmp_path, trial, result)

    assert is_done(tmp_path, trial, weights=True)


@pytest.mark.parametrize("keep_weights", [False, True])
@pytest.mark.parametrize("left", ["nothing", "a failure", "a link"])
def test_processes_that_write_one_trial_at_the_same_time_leave_one_result_whole(
    trained, tmp_path, monkeypatch, left, keep_weights
) -> None:
    trial, result = trained
    place = trial_directory(tmp_path, trial)
    if left == "a failure":
        place.mkdir(parents=True)
        (place / "error.txt").write_text("Traceback")
    elif left == "a link":
        place.parent.mkdir(parents=True)
        place.symlink_to(tmp_path / "nowhere")
    writers, first_looks = 4, []
    all_wrote, looking = Barrier(writers), results.is_done

    def look(directory, trial, **wanted):
        """Let none go on before all have seen that no result is there."""
        found = looking(directory, trial, **wanted)
        if get_ident() not in first_looks:
            first_looks.append(get_ident())
            all_wrote.wait(60)
        return found

    monkeypatch.setattr(results, "is_done", look)

    def write(_: int) -> Path:
        return write_trial(tmp_path, trial, result, keep_weights=keep_weights)

    with ThreadPoolExecutor(writers) as pool:
        places = list(pool.map(write, range(writers)))

    assert places == [place] * writers
    assert read_trial(place) == trial
    assert is_done(tmp_path, trial, weights=keep_weights)
    assert not (place / "error.txt").exists()
    assert [path.name for path in place.parent.iterdir()] == [trial.digest]


def test_a_result_that_another_process_finished_just_now_stays(
    trained, tmp_path, monkeypatch
) -> None:
    trial, result = trained
    place = trial_directory(tmp_path, trial)
    place.mkdir(parents=True)
    (place / "error.txt").write_text("Traceback")
    rename = Path.rename

    def finished_by_another(path: Path, to: Path) -> None:
        """Have the result of another process there, before what was there is moved away."""
        if path == place:
            monkeypatch.setattr(Path, "rename", rename)
            write_trial(tmp_path, trial, result)
            (place / "mark").touch()
        rename(path, to)

    monkeypatch.setattr(Path, "rename", finished_by_another)
    write_trial(tmp_path, trial, result)

    assert (place / "mark").exists()
    assert [path.name for path in place.parent.iterdir()] == [trial.digest]


def test_what_was_trained_is_read_from_its_directory(trained, tmp_path) -> None:
    trial, result = trained

    assert read_trial(write_trial(tmp_path, trial, result)) == trial


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [("DONE", None, "not a finished trial"), ("config.json", "{}", "KeyError 'recipe'")],
)
def test_a_directory_that_is_no_finished_trial_is_refused(
    trained, tmp_path, file, content, says
) -> None:
    trial, result = trained
    place = write_trial(tmp_path, trial, result)
    (place / file).unlink()
    if content is not None:
        (place / file).write_text(content)

    with pytest.raises(DataError, match=says):
        read_trial(place)


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
