"""Embedding tables on memory that several processes share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from fbgemm_gpu.split_embedding_configs import EmbOptimType
from fbgemm_gpu.split_table_batched_embeddings_ops_training import (
    ComputeDevice,
    EmbeddingLocation,
    SplitTableBatchedEmbeddingBagsCodegen,
)
from torch import Tensor, nn
from torchrec.modules.embedding_configs import (
    EmbeddingBagConfig,
    PoolingType,
    pooling_type_to_pooling_mode,
)
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor, KeyedTensor

from distrib.parameter_store.shared_segment import Field, Segment
from recsys.config import OptimizerConfig

_OPTIMIZERS = {
    "rowwise_adagrad": EmbOptimType.EXACT_ROWWISE_ADAGRAD,
    "adagrad": EmbOptimType.EXACT_ADAGRAD,
    "sgd": EmbOptimType.EXACT_SGD,
}
_STATE = "momentum1"
"""The kernel's name for accumulators"""


class SharedTables(nn.Module):
    """Tables with their fused optimiser, the rows and accumulators of which lie in a segment.

    To an arm it is what ``recsys.module.fused_collection`` makes, with the same kernels, but
    that nothing is allocated and nothing written: tables are what the segment has.

    Args:
        tables: those of one pooling stand together.
        optimizer: an additive one.
        segment: planned with ``fields`` among its arrays.
    """

    def __init__(
        self, tables: Sequence[EmbeddingBagConfig], optimizer: OptimizerConfig, segment: Segment
    ) -> None:
        super().__init__()
        self.embedding_bags = nn.ModuleDict()
        self.accumulators: dict[str, Tensor] = {}
        """By table ``(rows, 1 or width)``; none for SGD"""
        self._kernels: list[tuple[SplitTableBatchedEmbeddingBagsCodegen, list[str]]] = []
        for pooling, pooled in _by_pooling(tables).items():
            buffers = {
                buffer: torch.from_numpy(segment.array(field.name))
                for buffer, field in _buffers(pooling, pooled, optimizer).items()
            }
            kernel = _kernel(pooling, pooled, optimizer, buffers)
            # Not as modules: their parameters are those of ``embedding_bags``.
            self._kernels.append((kernel, [k for table in pooled for k in table.feature_names]))
            widths = [table.embedding_dim for table in pooled]
            for table, rows in zip(pooled, _split(buffers["weights"], pooled, widths), strict=True):
                bag = nn.Module()
                bag.register_parameter("weight", nn.Parameter(rows))
                self.embedding_bags[table.name] = bag
            if _STATE in buffers:
                widths = [1] * len(pooled) if optimizer.sparse == "rowwise_adagrad" else widths
                parts = _split(buffers[_STATE], pooled, widths)
                self.accumulators |= {t.name: rows for t, rows in zip(pooled, parts, strict=True)}
        self._keys = [key for table in tables for key in table.feature_names]
        self._length_per_key = [
            table.embedding_dim for table in tables for _ in table.feature_names
        ]

    @staticmethod
    def fields(
        tables: Sequence[EmbeddingBagConfig], optimizer: OptimizerConfig
    ) -> tuple[Field, ...]:
        """Return the arrays that tables and their accumulators take in a segment."""
        return tuple(
            field
            for pooling, pooled in _by_pooling(tables).items()
            for field in _buffers(pooling, pooled, optimizer).values()
        )

    def forward(self, sparse: KeyedJaggedTensor) -> KeyedTensor:
        """Return the pooled rows; the gradient of their values, where it arrives, updates them."""
        features = sparse.to_dict()
        pooled = []
        for kernel, keys in self._kernels:
            read = [features[key] for key in keys]
            lengths = torch.cat([each.lengths() for each in read])
            offsets = torch.ops.fbgemm.asynchronous_complete_cumsum(lengths)
            rows = torch.cat([each.values() for each in read])
            pooled.append(kernel(indices=rows.int(), offsets=offsets.int()))
        values = pooled[0] if len(pooled) == 1 else torch.cat(pooled, dim=1)
        return KeyedTensor(self._keys, self._length_per_key, values)


def _by_pooling(
    tables: Sequence[EmbeddingBagConfig],
) -> Mapping[PoolingType, list[EmbeddingBagConfig]]:
    found: dict[PoolingType, list[EmbeddingBagConfig]] = {}
    for table in tables:
        found.setdefault(table.pooling, []).append(table)
    return found


def _buffers(
    pooling: PoolingType, tables: Sequence[EmbeddingBagConfig], optimizer: OptimizerConfig
) -> dict[str, Field]:
    """Return the arrays of the tables of one pooling by the kernel's names for them."""
    rows = sum(table.num_embeddings for table in tables)
    weights = sum(table.num_embeddings * table.embedding_dim for table in tables)
    sizes = {"weights": weights}
    if optimizer.sparse != "sgd":
        sizes[_STATE] = rows if optimizer.sparse == "rowwise_adagrad" else weights
    return {
        buffer: Field(name=f"tables/{pooling.value}/{buffer}", dtype="<f4", shape=(size,))
        for buffer, size in sizes.items()
    }


def _kernel(
    pooling: PoolingType,
    tables: Sequence[EmbeddingBagConfig],
    optimizer: OptimizerConfig,
    buffers: Mapping[str, Tensor],
) -> SplitTableBatchedEmbeddingBagsCodegen:
    settings = {} if optimizer.sparse == "sgd" else {"eps": optimizer.eps}
    return SplitTableBatchedEmbeddingBagsCodegen(
        [
            (
                table.num_embeddings,
                table.embedding_dim,
                EmbeddingLocation.HOST,
                ComputeDevice.CPU,
            )
            for table in tables
        ],
        feature_table_map=[i for i, table in enumerate(tables) for _ in table.feature_names],
        pooling_mode=pooling_type_to_pooling_mode(pooling),
        device=torch.device("cpu"),
        optimizer=_OPTIMIZERS[optimizer.sparse],
        learning_rate=optimizer.sparse_learning_rate,
        preallocated_host_buffers=dict(buffers),
        **settings,
    )


def _split(flat: Tensor, tables: Sequence[EmbeddingBagConfig], widths: list[int]) -> list[Tensor]:
    """Return each table's part of weights or accumulators as ``(rows, width)``."""
    sizes = [t.num_embeddings * width for t, width in zip(tables, widths, strict=True)]
    parts = flat.split(sizes)
    return [part.view(-1, width) for part, width in zip(parts, widths, strict=True)]
