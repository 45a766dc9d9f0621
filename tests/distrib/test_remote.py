"""Results in an object store, seen through a directory."""

from __future__ import annotations

import pytest

from distrib.engines import train
from distrib.groups import Group
from distrib.remote import Results, results_at
from distrib.results import is_done
from distrib.runner import run_groups
from recsys.errors import ConfigError
from tests.support.logs import small_log, small_recipe, trials


@pytest.fixture
def uri(s3) -> str:
    return s3.uri(s3.new_bucket(), "results")


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return small_log(tmp_path_factory.mktemp("remote"))


@pytest.fixture(scope="module")
def trained(log):
    (trial,) = trials(log, small_recipe(), 1)
    return trial, train(log, [trial])[0]


def contents(directory) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_a_trial_that_was_sent_is_found_again_to_the_byte(uri, trained, tmp_path):
    trial, result = trained
    Results(directory=tmp_path).write(trial, result, keep_weights=False)

    Results(directory=tmp_path / "elsewhere", uri=uri).write(trial, result, keep_weights=False)

    with results_at(uri) as results:
        assert contents(results.directory) == contents(tmp_path)
        assert is_done(results.directory, trial)


def test_what_is_not_whole_is_not_there(s3, trained, tmp_path):
    trial, result = trained
    bucket = s3.new_bucket()
    uri = s3.uri(bucket, "results")
    Results(directory=tmp_path, uri=uri).write(trial, result, keep_weights=False)
    s3.client().delete_object(Bucket=bucket, Key=f"results/trials/{trial.digest}/DONE")

    with results_at(uri) as results:
        assert not is_done(results.directory, trial)
        assert contents(results.directory) == {}


def test_done_is_sent_last(uri, trained, tmp_path, monkeypatch):
    trial, result = trained
    sent: list[str] = []
    monkeypatch.setattr("distrib.folder.Folder.write", lambda _, name, __: sent.append(name))

    Results(directory=tmp_path, uri=uri).write(trial, result, keep_weights=False)

    assert sent[-1] == "DONE"
    assert sent.count("DONE") == 1
    assert "predictions.parquet" in sent


def test_a_result_replaces_what_a_failure_left_and_stays_itself(s3, trained, tmp_path):
    trial, result = trained
    bucket = s3.new_bucket()
    uri = s3.uri(bucket, "results")
    place = f"results/trials/{trial.digest}"
    s3.client().put_object(Bucket=bucket, Key=f"{place}/error.txt", Body=b"it failed")
    results = Results(directory=tmp_path, uri=uri)

    results.write(trial, result, keep_weights=False)
    s3.client().put_object(Bucket=bucket, Key=f"{place}/config.json", Body=b"first")
    results.write(trial, result, keep_weights=False)

    kept = s3.client().get_object(Bucket=bucket, Key=f"{place}/config.json")["Body"].read()
    assert f"{place}/error.txt" not in s3.names(bucket)
    assert kept == b"first"


def test_what_is_made_beside_trials_goes_to_the_uri_and_comes_back(uri):
    with results_at(uri) as results:
        (results.directory / "report").mkdir()
        (results.directory / "report" / "table.md").write_text("a table")

    with results_at(uri, writes=False) as results:
        (results.directory / "report" / "other.md").write_text("never sent")
        assert (results.directory / "report" / "table.md").read_text() == "a table"

    with results_at(uri) as results:
        assert not (results.directory / "report" / "other.md").exists()


@pytest.mark.usefixtures("ray_cluster")
def test_a_failure_is_told_by_where_it_lies(uri, log):
    poisoned = small_recipe(optimizer={"sparse_learning_rate": 1e38, "dense_learning_rate": 1e38})
    group = Group(title="poisoned", trials=tuple(trials(log, poisoned, 1)))

    with results_at(uri) as results:
        (failure,) = run_groups(log, results.directory, [group], uri=results.uri)

    with results_at(uri) as results:
        report = results.directory / "trials" / group.trials[0].digest / "error.txt"
        assert "diverged" in report.read_text()
        assert failure.named == f"{results}/trials/{group.trials[0].digest}/error.txt"
    assert failure.named.startswith("s3://bucket")
    assert "secret" not in failure.named


@pytest.mark.parametrize("place", ["nothing://bucket/x", "s3://nowhere-to-be-found/x?{}"])
def test_a_place_that_cannot_be_written_is_refused_in_one_line(s3, place):
    settings = s3.uri("b", "p").partition("?")[2]

    with pytest.raises(ConfigError) as refused, results_at(place.format(settings)):
        pass

    assert "\n" not in str(refused.value)
    assert str(refused.value).startswith(place.partition("?")[0])


def test_a_path_is_used_as_it_is(tmp_path):
    with results_at(tmp_path) as results:
        assert results == Results(directory=tmp_path)
