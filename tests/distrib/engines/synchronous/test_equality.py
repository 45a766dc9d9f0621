"""Two ranks with half of each batch train what one process trains, however tables are sharded."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from distrib.engines.local import Trained, fit
from distrib.engines.synchronous.sharded_arm import ShardedArm, whole
from recsys.data.click_log import ClickLog
from recsys.embeddings import fused_collection
from tests.support.arms import ARMS
from tests.support.logs import TRUTH, own_recipe, small_log, small_recipe, trials
from tests.support.ranks import Model, train_on

KINDS = ("auto", "table_wise", "row_wise", "column_wise", "data_parallel")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    # 320 examples in batches of 45: the second rank's part is one example shorter, and the last
    # batch, of 5 examples, leaves it 2 of 3.
    return small_log(tmp_path_factory.mktemp("equality"), replace(TRUTH, rows=400))


def sync_recipe(arm, kind="auto", make=small_recipe, optimizer=None, stream=None, **engine):
    # Columns of a row are on several ranks: no rowwise accumulator can be had.
    sparse = "adagrad" if kind == "column_wise" else "rowwise_adagrad"
    return make(
        arm=arm,
        **({"model": {"embedding_dim": 8}} if make is small_recipe else {}),
        optimizer={"sparse": sparse} | (optimizer or {}),
        stream=stream or {"batch_size": 45},
        engine={"name": "sync", "sharding": kind, **engine},
    )


@pytest.fixture(scope="module")
def locally(log):
    """Train with the local engine, each recipe once."""

    @cache
    def trained(arm: str, sparse: str) -> Trained:
        recipe = small_recipe(
            arm=ARMS[arm],
            model={"embedding_dim": 8},
            optimizer={"sparse": sparse},
            stream={"batch_size": 45},
        )
        return train_locally(log, recipe)

    return trained


def train_locally(log, recipe) -> Trained:
    def make_embeddings(tables):
        return fused_collection(tables, recipe.optimizer, CPU)

    return fit(log, trials(log, recipe, 2), CPU, make_embeddings, lambda _: None)


def assert_same_model(found: Model, expected: Trained) -> None:
    bags = expected.arm.embeddings.embedding_bags
    for name, rows in found.tables.items():
        np.testing.assert_allclose(rows, bags[name].weight.detach(), atol=1e-4, err_msg=name)
    for name, weights in expected.arm.dense.state_dict().items():
        np.testing.assert_allclose(found.towers[name], weights, atol=1e-4, err_msg=name)
    assert set(found.tables) == set(bags)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("arm", ARMS)
def test_two_ranks_train_what_one_process_trains(pool, log, locally, arm, kind) -> None:
    recipe = sync_recipe(ARMS[arm], kind)

    found, _ = pool.run(train_on, log.directory, trials(log, recipe, 2))

    expected = locally(arm, recipe.optimizer.sparse)
    assert_same_model(found, expected)
    examples = 2 * len(log.splits["train"])
    assert found.progress.lookups(examples) == expected.lookups.lookups()
    assert len(found.progress.watch.points) == len(expected.points) == 3
    for ours, theirs in zip(found.progress.watch.points, expected.points, strict=True):
        assert ours.examples == theirs.examples
        np.testing.assert_allclose(ours.logits, theirs.logits, atol=1e-3)
        np.testing.assert_allclose(
            ours.progressive_log_loss, theirs.progressive_log_loss, atol=1e-5
        )


@pytest.mark.parametrize(
    "arm", ["ensemble", "self-ensemble", "anti-distilled", "codistilled", "offline, two heads"]
)
def test_a_rank_may_have_no_example_of_a_batch(pool, log, arm) -> None:
    # Of 320 examples the second batch has 1, and the second rank nothing of it.
    recipe = sync_recipe(ARMS[arm], "table_wise", stream={"batch_size": 319})

    found, _ = pool.run(train_on, log.directory, trials(log, recipe, 2))

    assert_same_model(found, train_locally(log, recipe))


@pytest.mark.parametrize(
    ("kind", "sparse"),
    [
        *((kind, "adagrad") for kind in KINDS),
        ("row_wise", "rowwise_adagrad"),
        ("data_parallel", "rowwise_adagrad"),
        ("data_parallel", "sgd"),
    ],
)
def test_at_a_learning_rate_of_0_no_table_moves(pool, log, kind, sparse) -> None:
    still = {"sparse": sparse, "sparse_learning_rate": 0.0}
    recipe = sync_recipe(ARMS["single"], kind, optimizer=still)

    found, _ = pool.run(train_on, log.directory, trials(log, recipe, 1))

    start, _ = pool.run(initial_tables, log.directory, trials(log, recipe, 1))
    assert set(start) == set(found.tables)
    assert all(np.array_equal(found.tables[name], rows) for name, rows in start.items())


def initial_tables(ranks, directory, of_trials):
    recipe = of_trials[0].recipe
    seeds = [trial.seeds for trial in of_trials]
    (phase,) = recipe.arm.phases
    sharded = ShardedArm(recipe, ClickLog.open(directory).schema, seeds, phase, ranks)
    return {name: whole(table.weight).numpy() for name, table in sharded.tables.items()}


@pytest.mark.parametrize("kind", ["row_wise", "data_parallel"])
def test_sums_and_averages_of_one_feature_are_told_apart(pool, log, kind) -> None:
    factory = {"make": lambda **f: own_recipe("two_poolings", **f)}
    recipe = sync_recipe(ARMS["single"], "table_wise", table_sharding={"*_mean": kind}, **factory)

    found, _ = pool.run(train_on, log.directory, trials(log, recipe, 2))

    assert_same_model(found, train_locally(log, recipe))


@pytest.mark.parametrize("optimizer", ["adagrad", "sgd", "adam"])
def test_towers_obey_their_optimiser(pool, log, optimizer) -> None:
    offline = ARMS["offline, two heads"]
    recipe = sync_recipe(offline, optimizer={"dense": optimizer})

    found, _ = pool.run(train_on, log.directory, trials(log, recipe, 2))

    assert_same_model(found, train_locally(log, recipe))


def test_tables_may_be_sharded_each_in_its_way(pool, log, locally) -> None:
    ways = {"c0": "row_wise", "c*1": "data_parallel", "b0": "auto"}
    recipe = sync_recipe(ARMS["distilled"], "table_wise", table_sharding=ways)

    found, _ = pool.run(train_on, log.directory, trials(log, recipe, 2))

    assert_same_model(found, locally("distilled", "rowwise_adagrad"))


def test_torchrecs_own_dlrm_trains_with_its_relus_replaced(pool, log) -> None:
    recipe = sync_recipe(ARMS["smelu"], make=lambda **f: own_recipe("torchrec_dlrm", **f))

    found, _ = pool.run(train_on, log.directory, trials(log, recipe, 2))

    assert_same_model(found, train_locally(log, recipe))


@pytest.mark.parametrize("factory", ["uneven", "moody", "forgetful"])
def test_a_users_model_with_state_branches_or_dropout_trains_repeatably(pool, log, factory) -> None:
    recipe = sync_recipe(ARMS["codistilled"], make=lambda **f: own_recipe(factory, **f))

    found, same = pool.run(train_on, log.directory, trials(log, recipe, 2))
    again, _ = pool.run(train_on, log.directory, trials(log, recipe, 2))

    assert all(np.isfinite(each).all() for each in found.towers.values())
    assert all(np.array_equal(again.towers[name], each) for name, each in found.towers.items())
    assert all(np.array_equal(same.towers[name], each) for name, each in found.towers.items())


def test_bfloat16_products_train_almost_the_same(pool, log, locally) -> None:
    recipe = sync_recipe(ARMS["single"], precision="bfloat16")

    found, _ = pool.run(train_on, log.directory, trials(log, recipe, 2))

    point, expected = found.progress.watch.points[0], locally("single", "rowwise_adagrad").points[0]
    np.testing.assert_allclose(point.progressive_log_loss, expected.progressive_log_loss, atol=0.02)
    assert not np.allclose(point.logits, expected.logits, atol=1e-4)


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler here")
def test_compiled_towers_train_the_same(pool, log, locally) -> None:
    recipe = sync_recipe(ARMS["single"], compile=True)

    found, _ = pool.run(train_on, log.directory, trials(log, recipe, 2))

    assert_same_model(found, locally("single", "rowwise_adagrad"))
