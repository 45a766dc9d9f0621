"""Sharding plans: what was asked for, how work is dealt out, what is refused beforehand."""

from __future__ import annotations

import pytest
import torch
from torchrec.modules.embedding_configs import EmbeddingBagConfig

from distrib.engines.synchronous.sharding_plan import (
    column_parts,
    refuse_sharding,
    runs,
    sharding_kinds,
    sharding_plan,
)
from recsys.config import OptimizerConfig
from recsys.engines import SyncEngine
from recsys.errors import ConfigError

CPU, GPU = torch.device("cpu"), torch.device("cuda")
TABLES = [
    EmbeddingBagConfig(
        name=f"r0/model{component}/{feature}",
        num_embeddings=100,
        embedding_dim=8,
        feature_names=[f"r0/{feature}"],
    )
    for component in range(2)
    for feature in ("user_id", "user_city", "item")
]


def planned(engine: SyncEngine, *, sparse: str = "adagrad", ranks: int = 2, tables=TABLES):
    kinds = sharding_kinds(engine, tables)
    return sharding_plan(
        tables,
        kinds,
        OptimizerConfig(sparse=sparse),
        device=CPU,
        ranks=ranks,
        ranks_per_node=ranks,
        batch_size=32,
    )


def test_the_last_pattern_that_fits_a_tables_name_decides():
    engine = SyncEngine(
        sharding="table_wise", table_sharding={"user_*": "row_wise", "*_city": "data_parallel"}
    )

    kinds = sharding_kinds(engine, TABLES)

    assert kinds["r0/model0/user_id"] == "row_wise"
    assert kinds["r0/model1/user_city"] == "data_parallel"
    assert kinds["r0/model1/item"] == "table_wise"


def test_a_pattern_that_fits_no_table_is_refused():
    engine = SyncEngine(table_sharding={"usr_*": "row_wise"})

    with pytest.raises(ConfigError, match=r"usr_\*: matches no table; there are user_id, user"):
        sharding_kinds(engine, TABLES)


@pytest.mark.parametrize("kind", ["table_wise", "row_wise", "column_wise", "data_parallel"])
def test_every_table_is_sharded_as_asked_on_a_cpu(kind):
    plan = planned(SyncEngine(sharding=kind))

    assert list(plan) == [table.name for table in TABLES]
    assert {each.sharding_type for each in plan.values()} == {kind}


def test_shards_of_a_table_cover_it_once():
    for kind in ("table_wise", "row_wise", "column_wise"):
        for each in planned(SyncEngine(sharding=kind), ranks=3).values():
            sizes = [shard.shard_sizes for shard in each.sharding_spec.shards]
            assert sum(rows * columns for rows, columns in sizes) == 800


def test_no_table_goes_without_the_configured_optimiser_but_replicated_ones():
    plan = planned(SyncEngine(sharding="row_wise", table_sharding={"item": "data_parallel"}))

    kernels = {name.rsplit("/", 1)[-1]: each.compute_kernel for name, each in plan.items()}
    assert kernels == {"user_id": "fused", "user_city": "fused", "item": "dense"}


@pytest.mark.parametrize(
    ("work", "ranks", "expected"),
    [
        ([1, 1, 1, 1], 2, [0, 0, 1, 1]),
        ([1, 1, 1], 2, [0, 1, 1]),
        ([8, 1, 1, 1, 1, 1, 1, 1, 1], 2, [0, 1, 1, 1, 1, 1, 1, 1, 1]),
        ([4, 4], 4, [1, 3]),
        ([5], 3, [1]),
    ],
)
def test_ranks_get_runs_of_tables_of_about_equal_work(work, ranks, expected):
    assert runs(work, ranks) == expected


@pytest.mark.parametrize(
    ("width", "ranks", "parts"), [(16, 2, 2), (8, 4, 2), (12, 2, 1), (12, 3, 3), (4, 8, 1)]
)
def test_rows_are_cut_into_parts_of_whole_fours_of_columns(width, ranks, parts):
    assert column_parts(width, ranks) == parts


@pytest.mark.parametrize(
    ("kind", "sparse", "device", "says"),
    [
        ("column_wise", "rowwise_adagrad", CPU, "expected table_wise or row_wise"),
        ("column_wise", "rowwise_adagrad", GPU, "expected table_wise or row_wise"),
        ("data_parallel", "adam", GPU, "rows that no example reads"),
        ("table_wise", "adam", CPU, "found adam on a CPU"),
        ("auto", "adam", CPU, "found adam on a CPU"),
    ],
)
def test_what_would_not_train_as_one_process_does_is_refused(kind, sparse, device, says):
    kinds = {table.name: kind for table in TABLES}

    with pytest.raises(ConfigError, match=says):
        refuse_sharding(kinds, TABLES, OptimizerConfig(sparse=sparse), device)


def test_the_planner_never_chooses_what_is_refused():
    plan = planned(SyncEngine(sharding="auto"), sparse="rowwise_adagrad", ranks=4)

    assert {each.sharding_type for each in plan.values()} <= {"table_wise", "data_parallel"}


def test_tables_that_fit_no_rank_are_refused_with_a_way_out():
    huge = [
        EmbeddingBagConfig(
            name="r0/model0/huge",
            num_embeddings=10**10,
            embedding_dim=128,
            feature_names=["r0/huge"],
        )
    ]

    with pytest.raises(ConfigError, match="found no plan for 1 tables on 2 ranks"):
        planned(SyncEngine(sharding="auto"), tables=huge)
