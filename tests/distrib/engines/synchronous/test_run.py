"""Runs whose folder lies in an object store, as a machine without it sees them."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from distrib.engines.synchronous import checkpoints
from distrib.engines.synchronous.checkpoints import Damaged
from distrib.engines.synchronous.run import Run, training_digest
from distrib.trials.folder import Folder
from recsys.errors import ConfigError, DataError
from tests.support.logs import TRUTH, small_log, small_recipe, trials
from tests.support.ranks import train_on

NAME = "run"


@pytest.fixture(scope="module")
def trained(pool, tmp_path_factory):
    """Return the digest of a training, and the folder of its run, with checkpoints 4, 8 and 10."""
    log = small_log(tmp_path_factory.mktemp("log"), replace(TRUTH, rows=400))
    engine = {"name": "sync", "checkpoint_every": 4}
    replicas = trials(log, small_recipe(engine=engine), 1)
    run = tmp_path_factory.mktemp("trained")
    pool.run(train_on, log.directory, replicas, run)
    return training_digest(replicas), run


@pytest.fixture
def place(s3, trained) -> str:
    """Return a URI with the run in its runs."""
    _, made = trained
    place = s3.uri(s3.new_bucket(), "results")
    for path in made.rglob("*.*"):
        name = f"runs/{NAME}/{path.relative_to(made).as_posix()}"
        Folder(place).write(name, path.read_bytes())
    return place


def test_the_newest_checkpoint_is_brought_and_no_other(place, trained, tmp_path) -> None:
    training, made = trained

    found = Run(place, NAME, None, tmp_path).newest(training)

    assert found == tmp_path / NAME / "checkpoint_0-000010"
    for path in (made / found.name).iterdir():
        assert (found / path.name).read_bytes() == path.read_bytes()
    assert len(list(tmp_path.rglob("*.safetensors"))) == 2


def test_what_is_damaged_there_is_passed_over(place, trained, tmp_path) -> None:
    training, _ = trained
    Folder(place).delete(
        f"runs/{NAME}/checkpoint_0-000010/shard-00002-model-00001-of-00001.safetensors"
    )
    Folder(place).write(
        f"runs/{NAME}/checkpoint_0-000008/shard-00001-model-00001-of-00001.safetensors", b"cut"
    )

    found = Run(place, NAME, None, tmp_path).newest(training)

    assert found == tmp_path / NAME / "checkpoint_0-000004"


def test_a_checkpoint_that_is_gone_there_is_here_no_more(place, trained, tmp_path) -> None:
    training, _ = trained
    run = Run(place, NAME, None, tmp_path)
    first = run.newest(training)
    Folder(place).delete(f"runs/{NAME}/{first.name}")

    then = run.newest(training)

    assert (first.name, then.name) == ("checkpoint_0-000010", "checkpoint_0-000008")


@pytest.mark.parametrize("is_far", [False, True])
def test_what_nobody_needs_any_more_is_deleted(place, trained, tmp_path, is_far) -> None:
    if not is_far:
        shutil.copytree(trained[1], tmp_path / "runs" / NAME)
        place = str(tmp_path)
    Folder(place).write(
        f"runs/{NAME}/checkpoint_of-the-dead/shard-00001-model-00001-of-00001.safetensors", b"cut"
    )

    Run(place, NAME, None, tmp_path / "scratch").drop_all_but(2)

    there = Folder(place, f"runs/{NAME}").folders()
    assert there == ["checkpoint_0-000008", "checkpoint_0-000010"]


@pytest.mark.parametrize("is_far", [False, True])
def test_a_run_without_checkpoints_begins_with_another_runs(
    place, trained, tmp_path, is_far
) -> None:
    training, made = trained
    folder = f"{place.partition('?')[0]}/runs/{NAME}/checkpoint_0-000008?{place.partition('?')[2]}"
    begins_with = folder if is_far else str(made / "checkpoint_0-000008")

    found = Run(place, "another", begins_with, tmp_path).newest_or_resumed(training)

    assert checkpoints.read_progress(found).batches == 8
    assert Run(place, NAME, begins_with, tmp_path).newest_or_resumed(training).name.endswith("10")


def test_a_checkpoint_of_another_training_is_no_beginning(place, tmp_path) -> None:
    with pytest.raises(DataError, match="a checkpoint of another training"):
        Run(place, NAME, None, tmp_path).newest("0123456789abcdef")


def test_scalars_are_sent_and_what_lies_there_may_be_asked_for(place, tmp_path) -> None:
    run = Run(place, NAME, None, tmp_path)
    events = run.here / "tensorboard" / "events"
    events.parent.mkdir(parents=True)
    events.write_bytes(b"loss")

    run.send(events)
    run.clear()
    run.download_file("tensorboard/events")
    run.download_file("not/there")

    assert events.read_bytes() == b"loss"
    assert str(run).endswith(f"results/runs/{NAME}")
    assert "secret" not in str(run)


def test_a_run_on_a_path_is_where_it_is(trained, tmp_path) -> None:
    training, made = trained
    shutil.copytree(made, tmp_path / "runs" / NAME)
    run = Run(str(tmp_path), NAME, None, tmp_path / "scratch")

    found = run.newest(training)
    run.send(found / "progress.json")
    run.clear()

    assert found == tmp_path / "runs" / NAME / "checkpoint_0-000010"
    assert found.exists()
    assert not (tmp_path / "scratch").exists()


def test_a_checkpoint_to_begin_with_that_is_not_there_is_refused_by_its_field(tmp_path) -> None:
    run = Run(str(tmp_path), NAME, str(tmp_path / "nope"), tmp_path)

    with pytest.raises(ConfigError) as refused:
        run.newest_or_resumed("0123")

    assert str(refused.value) == (
        f"engine.resume: {tmp_path}/nope: not there, expected a checkpoint"
    )


def test_what_is_no_checkpoint_is_not_begun_with(tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    run = Run(str(tmp_path), NAME, str(tmp_path / "empty"), tmp_path)

    with pytest.raises(Damaged, match=r"^engine\.resume: .*manifest-0\.json: not a whole manifest"):
        run.newest_or_resumed("0123")
