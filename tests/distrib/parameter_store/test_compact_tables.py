"""Compact tables put out what whole tables put out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchrec.modules.embedding_configs import EmbeddingBagConfig, PoolingType
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

from distrib.parameter_store.compact_tables import CompactTables, distinct_rows
from distrib.parameter_store.layout import layout_of
from recsys.config import OptimizerConfig
from recsys.data.batch import Batch
from recsys.embeddings import fused_collection

CPU = torch.device("cpu")


@given(st.lists(st.integers(0, 2**40), max_size=60))
def test_distinct_rows_are_numpys(rows) -> None:
    found, ranks = distinct_rows(np.array(rows, np.int64))

    expected, inverse = np.unique(np.array(rows, np.int64), return_inverse=True)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(ranks, inverse)


def test_rows_too_large_to_be_packed_are_distinct_all_the_same() -> None:
    found, ranks = distinct_rows(np.array([2**62, 5, 2**62, 5]))

    assert found.tolist() == [5, 2**62]
    assert ranks.tolist() == [1, 0, 1, 0]


def tables(replicas: int) -> list[EmbeddingBagConfig]:
    """Widths and poolings mixed, one table read by two features."""
    kinds = [("a", 9, 4, PoolingType.MEAN), ("b", 5, 8, PoolingType.MEAN)]
    mean = [
        config(replica, name, rows, width, pooling, [f"r{replica}/{name}", f"r{replica}/c"])
        for replica in range(replicas)
        for name, rows, width, pooling in kinds
    ]
    total = [
        config(replica, "s", 7, 4, PoolingType.SUM, [f"r{replica}/b"])
        for replica in range(replicas)
    ]
    return mean + total


def config(replica, name, rows, width, pooling, features) -> EmbeddingBagConfig:
    return EmbeddingBagConfig(
        name=f"r{replica}/model0/{name}",
        num_embeddings=rows,
        embedding_dim=width,
        feature_names=features,
        pooling=pooling,
    )


def batch(replicas: int, seed: int) -> Batch:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 3, (3 * replicas, 4)).astype(np.int32)
    return Batch(
        labels=torch.zeros(replicas, 4),
        dense=torch.zeros(replicas, 4, 0),
        sparse=KeyedJaggedTensor(
            keys=[f"r{r}/{name}" for r in range(replicas) for name in "abc"],
            values=torch.from_numpy(rng.integers(0, 5, lengths.sum()).astype(np.int32)),
            lengths=torch.from_numpy(lengths.ravel()),
        ),
    )


@pytest.mark.parametrize("sparse", ["rowwise_adagrad", "adagrad", "sgd"])
@pytest.mark.parametrize("replicas", [1, 2])
def test_compact_tables_train_as_whole_tables_do(sparse, replicas) -> None:
    optimizer = OptimizerConfig(sparse=sparse)
    configs = tables(replicas)
    whole = fused_collection(configs, optimizer, CPU)
    for table in configs:
        torch.nn.init.normal_(whole.embedding_bags[table.name].weight.data)
    layout = layout_of(configs, torch.nn.Linear(1, 1), replicas, optimizer)
    compact = CompactTables(configs, layout, replicas, optimizer, CPU)
    slabs = [
        np.concatenate(
            [
                np.pad(
                    whole.embedding_bags[configs[i].name].weight.detach().numpy().copy(),
                    ((0, 0), (0, slab.state)),
                )
                for replica in range(replicas)
                for i in (
                    [j for j, t in enumerate(configs) if t.name.startswith(f"r{replica}/")][own]
                    for own in slab.tables
                )
            ]
        )
        for slab in layout.slabs
    ]
    window = [batch(replicas, seed) for seed in range(3)]

    found = compact.compact(window)
    pulled = [slab[rows] for slab, rows in zip(slabs, found.rows, strict=True)]
    compact.load([torch.from_numpy(records) for records in pulled])
    for of_whole, of_compact in zip(window, found.batches, strict=True):
        expected = whole(of_whole.sparse).values()
        values = compact(of_compact.sparse).values()
        torch.testing.assert_close(values, expected, atol=1e-6, rtol=1e-6)
        expected.square().sum().backward()
        values.square().sum().backward()
    after = compact.read([len(rows) for rows in found.rows])

    for slab, whole_slab, rows, records in zip(layout.slabs, slabs, found.rows, after, strict=True):
        whole_slab[rows] = records.numpy()
        ends = np.cumsum([0, *([slab.rows] * replicas)])
        for replica in range(replicas):
            own = [t for t in configs if t.name.startswith(f"r{replica}/")]
            for i, first in zip(slab.tables, slab.first_rows, strict=True):
                weight = whole.embedding_bags[own[i].name].weight.detach().numpy()
                start = ends[replica] + first
                # A row's gradients may be added up in another order: one rounding apart.
                np.testing.assert_allclose(
                    whole_slab[start : start + len(weight), : slab.width], weight, atol=1e-6
                )
