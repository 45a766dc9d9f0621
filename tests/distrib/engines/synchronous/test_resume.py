"""Checkpoints: what goes on from one, on which ranks, and what is passed over."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.distributed.checkpoint.metadata import MetadataIndex

from distrib.engines import local
from distrib.engines.synchronous import checkpoints
from distrib.engines.synchronous.checkpoints import Damaged
from distrib.engines.synchronous.driver import evaluated
from distrib.engines.synchronous.run import run_name, training_digest
from distrib.training.step import shape_of_phase
from recsys.cost import LookupCounter
from recsys.data.stream import Stream
from recsys.errors import DataError
from tests.support.arms import ARMS
from tests.support.logs import TRUTH, own_recipe, small_log, small_recipe, trials
from tests.support.ranks import Model, Pool, train_on


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return small_log(tmp_path_factory.mktemp("resume"), replace(TRUTH, rows=400))


def of_recipe(log, make=small_recipe, arm="offline, two heads", optimizer=None, **engine):
    recipe = make(
        arm=ARMS[arm],
        optimizer=optimizer or {},
        stream={"batch_size": 32},  # 10 batches a phase
        engine={"name": "sync", "checkpoint_every": 4, **engine},
    )
    return trials(log, recipe, 2)


def assert_same_bits(found: Model, expected: Model) -> None:
    assert all(np.array_equal(found.tables[name], each) for name, each in expected.tables.items())
    assert all(np.array_equal(found.towers[name], each) for name, each in expected.towers.items())
    ours, theirs = found.progress, expected.progress
    assert (ours.rows, ours.bytes, ours.unique_rows) == (
        theirs.rows,
        theirs.bytes,
        theirs.unique_rows,
    )
    for one, other in zip(ours.watch.points, theirs.watch.points, strict=True):
        assert np.array_equal(one.logits, other.logits)
        assert np.array_equal(one.progressive_log_loss, other.progressive_log_loss)


@pytest.mark.parametrize("after", [1, 3, 4])
@pytest.mark.parametrize("kind", ["row_wise", "data_parallel"])
def test_training_that_goes_on_is_to_the_bit_training_never_stopped(
    pool, log, tmp_path, kind, after
) -> None:
    # Checkpoints: at batches 4, 8 and 10 of the teacher's phase, then of the student's.
    replicas = of_recipe(log, sharding=kind)
    expected, _ = pool.run(train_on, log.directory, replicas)
    pool.run(train_on, log.directory, replicas, tmp_path, None, after)
    newest = checkpoints.newest(tmp_path, training_digest(replicas))

    found, _ = pool.run(train_on, log.directory, replicas, None, newest)

    assert_same_bits(found, expected)


@pytest.mark.parametrize("dense", ["adam", "sgd"])
@pytest.mark.parametrize("factory", ["uneven", "forgetful"])
def test_statistics_dropout_and_all_optimiser_state_go_on_too(
    pool, log, tmp_path, factory, dense
) -> None:
    replicas = of_recipe(
        log, lambda **f: own_recipe(factory, **f), "ensemble", {"dense": dense, "sparse": "adagrad"}
    )
    expected, _ = pool.run(train_on, log.directory, replicas)
    pool.run(train_on, log.directory, replicas, tmp_path, None, 2)
    newest = checkpoints.newest(tmp_path, training_digest(replicas))

    found, _ = pool.run(train_on, log.directory, replicas, None, newest)

    assert_same_bits(found, expected)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("table_wise", "row_wise"),
        ("row_wise", "column_wise"),
        ("column_wise", "data_parallel"),
        ("data_parallel", "table_wise"),
    ],
)
def test_training_goes_on_with_tables_sharded_otherwise(pool, log, tmp_path, before, after) -> None:
    adagrad = {"sparse": "adagrad"}
    expected, _ = pool.run(
        train_on, log.directory, of_recipe(log, optimizer=adagrad, sharding=before)
    )
    begun = of_recipe(log, optimizer=adagrad, sharding=before)
    pool.run(train_on, log.directory, begun, tmp_path, None, 5)
    resharded = of_recipe(log, optimizer=adagrad, sharding=after)
    newest = checkpoints.newest(tmp_path, training_digest(resharded))

    found, _ = pool.run(train_on, log.directory, resharded, None, newest)

    for name, rows in expected.tables.items():
        np.testing.assert_allclose(found.tables[name], rows, atol=1e-4, err_msg=name)


@pytest.mark.parametrize(("first", "then"), [(2, 1), (1, 2)])
def test_training_goes_on_with_another_number_of_ranks(
    pool, alone, log, tmp_path, first, then
) -> None:
    pools = {1: alone, 2: pool}
    replicas = of_recipe(log, arm="anti-distilled", sharding="row_wise")
    expected, *_ = pools[first].run(train_on, log.directory, replicas)
    pools[first].run(train_on, log.directory, replicas, tmp_path, None, 1)
    newest = checkpoints.newest(tmp_path, training_digest(replicas))

    found, *_ = pools[then].run(train_on, log.directory, replicas, None, newest)

    for name, rows in expected.tables.items():
        np.testing.assert_allclose(found.tables[name], rows, atol=1e-4, err_msg=name)
    assert found.progress.rows == expected.progress.rows


@pytest.fixture(scope="module")
def alone():
    started = Pool(1)
    yield started
    started.close()


@pytest.fixture(scope="module")
def finished(pool, log, tmp_path_factory):
    """Return trials, and a run that trained them to the end."""
    replicas = of_recipe(log)
    run = tmp_path_factory.mktemp("finished")
    pool.run(train_on, log.directory, replicas, run)
    return replicas, run


def test_a_checkpoint_is_evaluated_as_the_local_engine_evaluates_its_own(log, finished) -> None:
    replicas, run = finished
    newest = checkpoints.newest(run, training_digest(replicas))

    found = evaluated(log, replicas, newest, torch.device("cpu"))

    alike = small_recipe(arm=ARMS["offline, two heads"], stream={"batch_size": 32})
    for ours, theirs in zip(found, local.train(log, trials(log, alike, 2)), strict=True):
        np.testing.assert_allclose(ours.logit, theirs.logit, atol=1e-4)
        assert ours.cost.train_lookups == theirs.cost.train_lookups
        assert ours.cost.train_unique_rows == theirs.cost.train_unique_rows
        assert ours.provenance["sync"]["precision"] == "float32"


def test_a_checkpoint_in_the_middle_is_evaluated_with_the_costs_until_there(
    pool, log, tmp_path
) -> None:
    (trial,) = replicas = of_recipe(log, arm="single")[:1]
    pool.run(train_on, log.directory, replicas, tmp_path, None, 1)
    middle = checkpoints.newest(tmp_path, training_digest(replicas))

    (found,) = evaluated(log, replicas, middle, torch.device("cpu"))

    counter = LookupCounter()
    stream = Stream(log, "train", trial.recipe.stream, [trial.seeds])
    tables = shape_of_phase(trial.recipe, log.schema, [trial.seeds], ("model",)).tables
    for batch in stream.batches(0, 4):
        counter.count(tables, batch)
    assert middle.name == "checkpoint_0-000004"
    assert found.cost.train_lookups == counter.lookups().per_example


def test_what_was_trained_with_adam_on_gpus_is_evaluated_without_one(log, finished) -> None:
    replicas, run = finished
    newest = checkpoints.newest(run, training_digest(replicas))

    found = evaluated(
        log, of_recipe(log, optimizer={"sparse": "adam"}), newest, torch.device("cuda")
    )

    expected = evaluated(log, replicas, newest, torch.device("cpu"))
    for ours, theirs in zip(found, expected, strict=True):
        assert np.array_equal(ours.logit, theirs.logit)


def test_a_checkpoint_of_other_tables_is_no_model_of_this_arm(log, finished) -> None:
    replicas, run = finished
    newest = checkpoints.newest(run, training_digest(replicas))
    wider = of_recipe(log, lambda **f: small_recipe(model={"embedding_dim": 8}, **f))

    with pytest.raises(DataError, match="not a checkpoint of this arm"):
        evaluated(log, wider, newest, torch.device("cpu"))


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("spoil", [truncate, flip, lambda path: path.unlink()])
@pytest.mark.parametrize(
    "name",
    [
        "shard-00001-model-00001-of-00001.safetensors",
        "shard-00002-model-00001-of-00001.safetensors",
        "progress.json",
        "manifest-1.json",
    ],
)
def test_of_a_damaged_checkpoint_the_one_before_is_used(
    finished, tmp_path, caplog, name, spoil
) -> None:
    replicas, run = finished
    shutil.copytree(run, tmp_path, dirs_exist_ok=True)
    spoil(tmp_path / "checkpoint_1-000010" / name)

    found = checkpoints.newest(tmp_path, training_digest(replicas))

    assert found == tmp_path / "checkpoint_1-000008"
    assert "checkpoint_1-000010" in caplog.text


@pytest.mark.parametrize("name", ["/dev/zero", "../up", ".."])
def test_a_checkpoint_that_names_a_file_outside_is_refused(finished, tmp_path, name) -> None:
    replicas, run = finished
    place = tmp_path / "checkpoint_1-000010"
    shutil.copytree(run / place.name, place)
    manifest = place / "manifest-0.json"
    described = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(described | {"files": {name: "0" * 64}}))

    with pytest.raises(DataError, match="expected one inside the folder"):
        checkpoints.newest(tmp_path, training_digest(replicas))


def test_a_folder_whose_writer_died_is_no_checkpoint(finished, tmp_path) -> None:
    replicas, run = finished
    shutil.copytree(run / "checkpoint_0-000004", tmp_path / "checkpoint_0-000004")
    (tmp_path / "checkpoint_0-000008").mkdir()
    shutil.copy(
        run / "checkpoint_0-000008/shard-00001-model-00001-of-00001.safetensors",
        tmp_path / "checkpoint_0-000008",
    )

    found = checkpoints.newest(tmp_path, training_digest(replicas))

    assert found == tmp_path / "checkpoint_0-000004"


def test_where_no_checkpoint_is_whole_there_is_none(finished, tmp_path) -> None:
    replicas, _ = finished

    assert checkpoints.newest(tmp_path, training_digest(replicas)) is None
    assert checkpoints.newest(tmp_path / "nowhere", training_digest(replicas)) is None


def test_a_checkpoint_of_another_training_is_refused(log, finished) -> None:
    _, run = finished
    faster = of_recipe(log, optimizer={"sparse_learning_rate": 0.1})

    with pytest.raises(DataError, match="a checkpoint of another training"):
        checkpoints.check(run / "checkpoint_1-000010", training_digest(faster))


def test_a_checkpoint_of_another_format_is_refused(finished, tmp_path) -> None:
    replicas, run = finished
    shutil.copytree(run / "checkpoint_1-000010", tmp_path / "checkpoint_1-000010")
    manifest = tmp_path / "checkpoint_1-000010" / "manifest-0.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": 3}))

    with pytest.raises(DataError, match="format 3, expected 2"):
        checkpoints.newest(tmp_path, training_digest(replicas))


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a":' * 100_000, "[]", '{"format": "2"}'])
def test_a_manifest_of_another_structure_is_damaged(finished, tmp_path, content) -> None:
    replicas, _ = finished
    (tmp_path / "manifest-0.json").write_text(content)

    with pytest.raises(Damaged, match=r"manifest-0\.json: not a whole manifest") as refused:
        checkpoints.check(tmp_path, training_digest(replicas))

    assert "\n" not in str(refused.value)


def test_no_file_of_a_checkpoint_is_a_pickle(finished) -> None:
    _, run = finished

    kept = {path.name for path in (run / "checkpoint_1-000010").iterdir()}

    assert {name.rpartition(".")[2] for name in kept} == {"json", "safetensors"}


def test_two_parts_of_a_table_on_one_rank_are_both_kept() -> None:
    class Item:
        def __init__(self, fqn: str) -> None:
            self.index = MetadataIndex(fqn)

    first, second, other = Item("wide"), Item("wide"), Item("other")
    writer = checkpoints.Writer("nowhere", save_distributed=True)

    files = writer._split_by_storage_plan(None, [first, second, other])

    assert files == {1: [first, other], 2: [second]}


def test_a_missing_checkpoint_to_begin_with_is_refused(finished, tmp_path) -> None:
    replicas, _ = finished

    with pytest.raises(Damaged, match=r"manifest-0\.json: not a whole manifest"):
        checkpoints.check(tmp_path, training_digest(replicas))


def test_ranks_and_sharding_decide_the_run_but_not_what_it_can_go_on_from(log) -> None:
    one, other = of_recipe(log, workers=1), of_recipe(log, workers=2, sharding="row_wise")
    half = of_recipe(log, precision="bfloat16")

    assert run_name(one) != run_name(other)
    assert training_digest(one) == training_digest(other)
    assert training_digest(one) != training_digest(half)
