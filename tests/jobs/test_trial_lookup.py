"""Which trial is meant: by its own place, or by arm and replica; at a path, or at a URI."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.errors import ResultsError
from distrib.trials.folder import Folder
from jobs.trial_lookup import trial_at
from recsys.credentials import without_credentials
from recsys.errors import ConfigError, DataError
from tests.support.results import SyntheticArm, write_sweep

ARMS = (
    SyntheticArm(name="relu", noise=0.5, replicas=3, unfinished=(1,)),
    SyntheticArm(name="smelu", noise=0.5, replicas=2),
    SyntheticArm(name="late", noise=0.5, replicas=1, unfinished=(0,)),
)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> Path:
    return write_sweep(tmp_path_factory.mktemp("results") / "small", ARMS)


@pytest.fixture(params=["path", "file", "s3"])
def place(request, sweep) -> str:
    """The sweep's directory, its URI, and the URI of a copy in an object store."""
    if request.param == "path":
        return str(sweep)
    return sweep.as_uri() if request.param == "file" else request.getfixturevalue("copied")


@pytest.fixture(scope="module")
def copied(s3, sweep) -> str:
    uri = s3.uri(s3.new_bucket(), "results/small")
    return copy(sweep, uri)


def copy(directory: Path, uri: str) -> str:
    for path in directory.rglob("*"):
        if path.is_file():
            Folder(uri).write(path.relative_to(directory).as_posix(), path.read_bytes())
    return uri


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_an_arms_replica_is_found_and_is_there_whole(place, sweep):
    with trial_at(place, "smelu", 1) as found:
        there = contents(found.directory)

    assert there == contents(sweep / "trials/smelu1")
    assert found.title == "smelu, replica 1"
    assert found.name == "smelu1"
    assert found.place == f"{without_credentials(place)}/trials/smelu1"
    assert "secret" not in found.place


def test_the_first_replica_is_meant_where_none_is_told(place):
    with trial_at(place, "relu") as found:
        assert found.title == "relu, replica 0"


def test_a_trial_is_found_by_its_own_place(place, sweep):
    path, mark, settings = place.partition("?")

    with trial_at(f"{path}/trials/relu2{mark}{settings}") as found:
        assert contents(found.directory) == contents(sweep / "trials/relu2")

    assert (found.name, found.title) == ("relu2", "relu2")


@pytest.mark.parametrize(
    ("arm", "replica", "says"),
    [
        ("rellu", None, "--arm rellu: unknown in .*small, expected one of relu, smelu, late"),
        ("relu", 1, "--replica 1: no finished .* of relu in .*small, expected one of 0, 2"),
        ("relu", 7, "--replica 7: no finished .* of relu in .*small, expected one of 0, 2"),
        ("late", None, "--replica 0: no finished .* of late in .*small, which has none yet"),
        (None, None, "small: is a sweep, expected --arm with one of relu, smelu, late"),
        (None, 1, "--replica 1: found no --arm"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(place, arm, replica, says):
    with pytest.raises(ConfigError, match=f"{says}$" if arm else says) as refused:
        enter(place, arm, replica)

    assert "\n" not in str(refused.value)
    assert "secret" not in str(refused.value)


def test_an_arm_of_what_is_no_sweep_is_refused(place):
    path, mark, settings = place.partition("?")

    with pytest.raises(ConfigError, match=r"--arm relu: .*relu2 has no sweep.json, expected"):
        enter(f"{path}/trials/relu2{mark}{settings}", "relu")


def test_a_search_names_trials_beside_its_folder(s3, sweep, tmp_path):
    manifest = (sweep / "sweep.json").read_text().replace("trials/", "../trials/")
    uri = s3.uri(s3.new_bucket(), "results/small")
    copy(sweep, uri)
    Folder(uri).write("search/sweep.json", manifest.encode())
    path, mark, settings = uri.partition("?")

    with trial_at(f"{path}/search{mark}{settings}", "smelu", 1) as found:
        assert contents(found.directory) == contents(sweep / "trials/smelu1")


def test_of_a_sweep_at_a_uri_nothing_else_is_fetched(copied, monkeypatch):
    read: list[str] = []
    reading = Folder.read
    monkeypatch.setattr(
        Folder, "read", lambda at, name: read.append(f"{at}/{name}") or reading(at, name)
    )

    with trial_at(copied, "relu"):
        pass

    assert all(name.endswith("small/sweep.json") or "/trials/relu0/" in name for name in read)
    assert any("/trials/relu0/" in name for name in read)


def test_an_error_about_a_fetched_trial_names_its_uri(copied):
    with (
        pytest.raises(DataError, match=r"^s3://bucket\d+/results/small/trials/relu0/x: not there"),
        trial_at(copied, "relu") as found,
    ):
        raise DataError(f"{found.directory}/x: not there")

    assert not found.directory.exists()


def test_a_damaged_manifest_is_told_by_its_uri(tmp_path):
    (tmp_path / "sweep.json").write_text("{")

    with pytest.raises(ResultsError, match=f"^{tmp_path.as_uri()}/sweep.json: "):
        enter(tmp_path.as_uri(), "relu")


@pytest.mark.parametrize(
    ("place", "error", "says"),
    [
        ("nothing://bucket/trials/1", ConfigError, "a place that can be read"),
        ("s3://nowhere-to-be-found/trials/1?{}", DataError, "not a finished trial"),
        ("file:///nowhere-to-be-found/..", DataError, "not a finished trial"),
    ],
)
def test_a_uri_that_cannot_be_read_is_refused_in_one_line(s3, place, error, says):
    settings = s3.uri("b", "p").partition("?")[2]

    with pytest.raises(error, match=says) as refused:
        enter(place.format(settings))

    assert str(refused.value).startswith(place.partition("?")[0])
    assert "\n" not in str(refused.value)


def enter(place: str, arm: str | None = None, replica: int | None = None) -> None:
    with trial_at(place, arm, replica):
        pass
