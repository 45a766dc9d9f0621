"""Results in an object store, seen through a directory."""

from __future__ import annotations

import pytest

from distrib.engines import train
from distrib.failures import write_failure
from distrib.folder import Folder
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
    first = s3.names(bucket)
    s3.client().put_object(Bucket=bucket, Key=f"{place}/left", Body=b"goes where it is sent again")
    results.write(trial, result, keep_weights=False)

    assert f"{place}/error.txt" not in first
    assert set(s3.names(bucket)) == {*first, f"{place}/left"}


@pytest.mark.parametrize("spoil", ["another's", "nobody's"])
def test_a_trial_that_two_sent_at_once_counts_as_none_and_is_sent_again(
    s3, trained, tmp_path, spoil
):
    trial, result = trained
    bucket = s3.new_bucket()
    uri = s3.uri(bucket, "results")
    name = f"results/trials/{trial.digest}/predictions.parquet"
    elsewhere = Results(directory=tmp_path / "elsewhere", uri=uri)
    elsewhere.write(trial, result, keep_weights=False)
    if spoil == "another's":
        s3.client().put_object(Bucket=bucket, Key=name, Body=b"of another training")
    else:
        s3.client().delete_object(Bucket=bucket, Key=name)

    with results_at(uri) as results:
        assert not is_done(results.directory, trial)
        assert not results.receive(trial)
        elsewhere.write(trial, result, keep_weights=False)
        assert results.receive(trial)
        assert is_done(results.directory, trial)


def test_a_trial_that_was_copied_there_is_believed(s3, trained, tmp_path):
    trial, result = trained
    bucket = s3.new_bucket()
    Results(directory=tmp_path).write(trial, result, keep_weights=False)
    for name, content in contents(tmp_path).items():
        s3.client().put_object(Bucket=bucket, Key=f"results/{name}", Body=content)

    with results_at(s3.uri(bucket, "results")) as results:
        assert contents(results.directory) == contents(tmp_path)


def test_checkpoints_stay_where_they_lie(s3):
    bucket = s3.new_bucket()
    for name in (
        "runs/0123/checkpoint_1/shard-00001-model-00001-of-00001.safetensors",
        "sweep.json",
    ):
        s3.client().put_object(Bucket=bucket, Key=f"results/{name}", Body=b"")

    with results_at(s3.uri(bucket, "results")) as results:
        assert list(contents(results.directory)) == ["sweep.json"]


def test_what_was_fetched_and_not_changed_is_not_sent_over_what_came_since(s3):
    bucket = s3.new_bucket()
    uri = s3.uri(bucket, "results")
    for name in ("sweep.json", "report/table.md"):
        s3.client().put_object(Bucket=bucket, Key=f"results/{name}", Body=b"old")

    with results_at(uri) as results:
        s3.client().put_object(Bucket=bucket, Key="results/sweep.json", Body=b"since")
        (results.directory / "report" / "table.md").write_bytes(b"made here")

    with results_at(uri) as results:
        assert (results.directory / "sweep.json").read_bytes() == b"since"
        assert (results.directory / "report" / "table.md").read_bytes() == b"made here"


def test_what_is_fetched_again_is_what_is_new_and_without_what_is_gone(
    s3, trained, tmp_path, monkeypatch
):
    trial, result = trained
    bucket = s3.new_bucket()
    uri = s3.uri(bucket, "results")
    for name in ("sweep.json", "status.json", "report/page.html"):
        s3.client().put_object(Bucket=bucket, Key=f"results/{name}", Body=b"{}")
    elsewhere = Results(directory=tmp_path, uri=uri)
    read: list[str] = []
    reading = Folder.read

    def wanted(name: str) -> bool:
        return name.endswith((".json", ".parquet"))

    with results_at(uri, writes=False, wanted=wanted) as results:
        first = set(contents(results.directory))
        elsewhere.write(trial, result, keep_weights=False)
        results.fetch(wanted)
        s3.client().delete_object(Bucket=bucket, Key="results/status.json")
        monkeypatch.setattr(Folder, "read", lambda at, name: read.append(name) or reading(at, name))
        results.fetch(wanted)

        assert first == {"sweep.json", "status.json"}
        assert is_done(results.directory, trial)
        assert read == ["sweep.json"]
        assert not (results.directory / "status.json").exists()


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


def test_a_failure_that_cannot_be_sent_is_told_by_where_it_is(trained, tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError("network is down")

    monkeypatch.setattr("distrib.folder.Folder.write", refuse)
    results = Results(directory=tmp_path, uri=f"file://{tmp_path}/elsewhere")

    failure = write_failure(results, "relu", trained[0], "diverged", "Traceback")

    assert failure.named == str(failure.report)
    assert failure.report.read_text() == "diverged\n\nTraceback"
