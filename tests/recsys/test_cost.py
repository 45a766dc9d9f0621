"""Costs against counts made by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchrec.modules.embedding_configs import EmbeddingBagConfig
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

from recsys.config import OptimizerConfig
from recsys.cost import LookupCounter, dense_flops, parameters
from recsys.data.batch import Batch
from recsys.data.stream import Batches
from recsys.embeddings import fused_collection
from recsys.module import Arm, served_part
from recsys.seeds import Seeds
from tests.support.logs import bag_of, small_log, small_recipe

ROWS = np.array([3, 8, 21, 40, 41])


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return small_log(tmp_path_factory.mktemp("cost"))


def _make(tables):
    return fused_collection(tables, OptimizerConfig(), torch.device("cpu"))


def _arm(log, recipe, replicas=2):
    seeds = [Seeds(init=replica) for replica in range(replicas)]
    return Arm(recipe.arm, recipe.model, log.schema, seeds, _make)


def _batch(log, replicas):
    (batch,) = Batches(log, replicas).same_rows(ROWS, len(ROWS))
    return batch


def _rows_read_by_one_model(log) -> int:
    singles = len(log.schema.single_valued) * len(ROWS)
    return singles + sum(
        len(bag_of(log, feature.name, row)) for feature in log.schema.multi_valued for row in ROWS
    )


@pytest.mark.parametrize(
    ("arm", "times_trained", "times_served"),
    [
        ({"kind": "single"}, 1, 1),
        ({"kind": "ensemble", "components": 3}, 3, 3),
        ({"kind": "self_ensemble", "components": 3}, 1, 1),
        ({"kind": "anti_distilled", "components": 3}, 3, 3),
        ({"kind": "distilled", "components": 3}, 4, 1),
        ({"kind": "codistilled", "components": 3}, 3, 1),
    ],
)
def test_lookups_are_those_counted_by_hand_with_unequal_bags(
    log, arm, times_trained, times_served
) -> None:
    trained = _arm(log, small_recipe(arm=arm))
    served = served_part(trained, _make, [0, 1])
    by_hand = _rows_read_by_one_model(log) / len(ROWS)

    counts = [LookupCounter(), LookupCounter()]
    counts[0].count(trained.tables, _batch(log, 2))
    counts[1].count(served.tables, _batch(log, 2))

    found = [counter.lookups() for counter in counts]
    assert found[0].per_example == pytest.approx(times_trained * by_hand)
    assert found[1].per_example == pytest.approx(times_served * by_hand)
    assert found[1].bytes_per_example == pytest.approx(times_served * by_hand * 4 * 4)


def test_unique_rows_are_the_distinct_rows_of_each_table(log) -> None:
    arm = _arm(log, small_recipe(arm={"kind": "ensemble", "components": 2}))
    counter = LookupCounter()

    counter.count(arm.tables, _batch(log, 2))

    singles = sum(
        len(set(log.ids[ROWS, column])) for column in range(len(log.schema.single_valued))
    )
    bags = sum(
        len({one for row in ROWS for one in bag_of(log, feature.name, row)})
        for feature in log.schema.multi_valued
    )
    assert counter.lookups().unique_rows_per_batch == 2 * (singles + bags)


def test_a_row_that_two_features_read_of_one_table_is_one_distinct_row() -> None:
    table = EmbeddingBagConfig(
        name="shared", num_embeddings=9, embedding_dim=4, feature_names=["r0/a", "r0/b"]
    )
    batch = Batch(
        labels=torch.zeros(1, 2),
        dense=torch.zeros(1, 2, 0),
        sparse=KeyedJaggedTensor(
            keys=["r0/a", "r0/b"],
            values=torch.tensor([1, 2, 2, 3, 7]),
            lengths=torch.tensor([1, 1, 2, 1]),
        ),
    )
    counter = LookupCounter()

    counter.count([table], batch)

    assert counter.lookups().unique_rows_per_batch == 4
    assert counter.lookups().per_example == 2.5


def test_an_example_read_in_two_phases_counts_once_its_rows_twice(log) -> None:
    arm = _arm(log, small_recipe(arm={"kind": "single"}))
    counter = LookupCounter()

    counter.count(arm.tables, _batch(log, 2), again=True)
    counter.count(arm.tables, _batch(log, 2))

    expected = 2 * _rows_read_by_one_model(log) / len(ROWS)
    assert counter.lookups().per_example == pytest.approx(expected)


def test_parameters_are_those_of_one_replica(log) -> None:
    recipe = small_recipe(arm={"kind": "single"}, model={"layer_norm": True})
    rows = sum(feature.cardinality for feature in log.schema.sparse)
    fan_in = 4 * len(log.schema.sparse) + 2
    dense = fan_in * 6 + 6 + 2 * 6 + 6 * 4 + 4 + 2 * 4 + 4 + 1

    found = parameters(_arm(log, recipe), recipe.optimizer)

    assert (found.sparse, found.dense) == (4 * rows, dense)
    assert found.optimizer_state == rows + dense


def test_dense_flops_are_those_of_the_matrix_products(log) -> None:
    arm = _arm(log, small_recipe(arm={"kind": "ensemble", "components": 3}))
    fan_in = 4 * len(log.schema.sparse) + 2
    forward = 3 * 2 * (fan_in * 6 + 6 * 4)

    found = dense_flops(arm, _batch(log, 2))

    assert found.forward == forward
    assert found.forward_backward == 3 * forward


def test_counting_flops_changes_nothing_of_the_arm(log) -> None:
    arm = _arm(log, small_recipe(arm={"kind": "single"}))
    before = {name: value.clone() for name, value in arm.state_dict().items()}

    dense_flops(arm, _batch(log, 2))

    assert all(torch.equal(before[name], value) for name, value in arm.state_dict().items())
    assert all(parameter.grad is None for parameter in arm.dense.parameters())
