"""Results in an object store, seen through a directory."""

from __future__ import annotations

import hashlib
import json

import pytest

from distrib.engines.registry import train
from distrib.scheduling.runner import run_groups
from distrib.scheduling.status import ERROR
from distrib.trials.failures import write_failure
from distrib.trials.folder import Folder
from distrib.trials.grouping import Group
from distrib.trials.remote_results import Results, results_at
from distrib.trials.results import is_done, trial_directory
from recsys.errors import ConfigError, DataError
from tests.support.logs import small_log, small_recipe, trials
from tests.support.names import OUTSIDE


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
    monkeypatch.setattr("distrib.trials.folder.Folder.write", lambda _, name, __: sent.append(name))

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

    monkeypatch.setattr("distrib.trials.folder.Folder.write", refuse)
    results = Results(directory=tmp_path, uri=f"file://{tmp_path}/elsewhere")

    failure = write_failure(results, "relu", trained[0], "diverged", "Traceback")

    assert failure.named == str(failure.report)
    assert failure.report.read_text() == "diverged\n\nTraceback"


def test_a_failure_is_not_written_behind_a_link(trained, tmp_path):
    (tmp_path / "precious").write_text("mine")
    results = Results(directory=tmp_path / "results")
    place = trial_directory(results.directory, trained[0])
    place.mkdir(parents=True)
    (place / ERROR).symlink_to(tmp_path / "precious")

    failure = write_failure(results, "relu", trained[0], "diverged", "Traceback")

    assert failure.report.read_text() == "diverged\n\nTraceback"
    assert (tmp_path / "precious").read_text() == "mine"


def test_a_failure_that_cannot_be_written_is_told_and_stops_nothing(trained, tmp_path):
    (tmp_path / "file").write_text("in the way of the directory")
    results = Results(directory=tmp_path / "file")

    failure = write_failure(results, "relu", trained[0], "diverged", "Traceback")

    assert failure.reason == "diverged"
    assert not failure.report.is_file()


def test_a_key_with_dots_deletes_nothing_here(s3, tmp_path, monkeypatch):
    # As deep as the mirror will lie: the key leads from its trials to the directory beside it.
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "precious").write_text("mine")
    bucket = s3.new_bucket()
    for file in ("DONE", "error.txt"):
        key = f"results/trials/../../../project/{file}"
        s3.client().put_object(Bucket=bucket, Key=key, Body=b"")

    with (
        pytest.raises(DataError, match=r"found the name 'trials/\.\./\.\./\.\./project/DONE'"),
        results_at(s3.uri(bucket, "results"), writes=False),
    ):
        pass

    assert (tmp_path / "project" / "precious").read_text() == "mine"
    assert contents(tmp_path) == {"project/precious": b"mine"}


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("system", ["local", "s3"])
def test_a_done_that_names_a_file_outside_is_refused_and_nothing_written(
    request, tmp_path, monkeypatch, system, name
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    victim = tmp_path / "victim"
    victim.write_text("mine")
    name = str(victim) if name == "/etc/passwd" else name
    done = json.dumps({name: hashlib.sha256(b"theirs").hexdigest()}).encode()
    if system == "s3":
        s3 = request.getfixturevalue("s3")
        place = s3.uri(s3.new_bucket(), "results")
    else:
        place = (tmp_path / "share").as_uri()
    Folder(place).write("trials/0a1b/DONE", done)

    with pytest.raises((DataError, ConfigError)) as refused, results_at(place, writes=False):
        pass

    assert str(refused.value).isprintable()
    assert "trials/0a1b" in str(refused.value)
    assert victim.read_text() == "mine"
    left = {path: content for path, content in contents(tmp_path).items() if "share" not in path}
    assert left == {"victim": b"mine"}


@pytest.mark.parametrize("done", [b"[]", b"{", b"3", b'{"a": 1}', b"[" * 100_000, b"\xff"])
def test_a_done_that_is_none_is_refused_in_one_line(tmp_path, done):
    place = (tmp_path / "share").as_uri()
    Folder(place).write("trials/0a1b/DONE", done)

    with (
        pytest.raises(DataError, match=r"share/trials/0a1b/DONE: expected a JSON object with a"),
        results_at(place, writes=False),
    ):
        pass


def test_a_done_that_is_none_gives_way_to_a_result(trained, tmp_path):
    trial, result = trained
    uri = (tmp_path / "share").as_uri()
    Folder(uri).write(f"trials/{trial.digest}/DONE", b'{"../../up": ""}')

    Results(directory=tmp_path / "here", uri=uri).write(trial, result, keep_weights=False)

    with results_at(uri, writes=False) as results:
        assert is_done(results.directory, trial)


def test_a_done_beside_the_trials_is_no_trial_that_would_replace_them(trained, tmp_path):
    trial, result = trained
    uri = (tmp_path / "share").as_uri()
    Results(directory=tmp_path / "here", uri=uri).write(trial, result, keep_weights=False)
    Folder(uri).write("trials/DONE", b"{}")

    with results_at(uri, writes=False) as results:
        assert is_done(results.directory, trial)


def test_a_link_in_a_shared_folder_is_not_followed(trained, tmp_path):
    trial, result = trained
    place = tmp_path / "share" / "trials" / trial.digest
    place.parent.mkdir(parents=True)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("mine")
    place.symlink_to(tmp_path / "precious")
    results = Results(directory=tmp_path / "here", uri=(tmp_path / "share").as_uri())

    with pytest.raises(DataError, match="found a link that leads out of"):
        results.write(trial, result, keep_weights=False)
    with pytest.raises(DataError, match="found a link that leads out of"):
        results.fetch()

    assert contents(tmp_path / "precious") == {"file": b"mine"}


def test_nothing_is_fetched_or_sent_through_a_link_of_the_mirror(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "key").write_text("secret")
    here = tmp_path / "here"
    here.mkdir()
    (here / "report").symlink_to(tmp_path / "precious")
    (here / "key").symlink_to(tmp_path / "precious" / "key")
    uri = (tmp_path / "share").as_uri()
    Folder(uri).write("report/table.md", b"theirs")
    results = Results(directory=here, uri=uri)

    for use in (results.fetch, results.send):
        with pytest.raises(DataError, match="found a link that leads out of"):
            use()

    assert contents(tmp_path / "precious") == {"key": b"secret"}
    assert Folder(uri).files() == ["report/table.md"]


def test_an_interruption_sends_what_was_made_until_then(uri):
    def interrupted():
        with results_at(uri) as results:
            (results.directory / "sweep.json").write_text("{}")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert Folder(uri).files() == ["sweep.json"]
