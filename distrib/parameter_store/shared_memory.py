"""A whole arm in shared memory: rows, towers, optimizer state and a journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

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

from distrib.parameter_store.layout import (
    Layout,
    fill_arm,
    layout_of,
    pack_dense,
    parameters_of,
    refuse_buffers,
    unpack_dense,
)
from distrib.parameter_store.shard import Parameters, tensor_of
from distrib.parameter_store.shared_journal import Journal
from distrib.parameter_store.shared_segment import SHARED_MEMORY, Address, Field, Plan, Segment
from distrib.training.step import dense_optimizer
from distrib.training.windows import Windows
from recsys.config import OptimizerConfig
from recsys.errors import ConfigError
from recsys.module import Arm

_OPTIMIZERS = {
    "rowwise_adagrad": EmbOptimType.EXACT_ROWWISE_ADAGRAD,
    "adagrad": EmbOptimType.EXACT_ADAGRAD,
    "sgd": EmbOptimType.EXACT_SGD,
}
_STATE = "momentum1"
"""The kernel's name for accumulators"""


class SharedTables(nn.Module):
    """Tables with their fused optimizer, with rows and accumulators in a segment.

    Like ``recsys.embeddings.fused_collection``, with the same kernels, but nothing is allocated or
    initialised.

    Args:
        tables: sorted by pooling.
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
        """Return the arrays of tables and their accumulators in a segment."""
        return tuple(
            field
            for pooling, pooled in _by_pooling(tables).items()
            for field in _buffers(pooling, pooled, optimizer).values()
        )

    def forward(self, sparse: KeyedJaggedTensor) -> KeyedTensor:
        """Return the pooled rows; the backward pass updates the tables."""
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
    """Return the arrays of the tables of one pooling, by the kernel's names."""
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


_WEIGHTS, _ACCUMULATORS = "weights", "accumulators"


def plan_of(
    shape: Arm, optimizer: OptimizerConfig, windows: Windows, *, workers: int, measurements: int
) -> Plan:
    """Return the arrays of an arm with one replica, and of its journal, in shared memory.

    Args:
        shape: the arm, with tables on the meta device.
        optimizer: an additive one.
        windows: of the stream.
        workers: number of workers.
        measurements: numbers recorded for each window.

    Raises:
        ConfigError: the dense part has parameters other than float32, or state that no optimizer
            updates.
    """
    refuse_buffers(shape.dense)
    for name, weight in shape.dense.named_parameters():
        if weight.dtype != torch.float32:
            raise ConfigError(
                f"model: found {name} of {weight.dtype}, expected torch.float32 in shared memory"
            )
    parts = (_WEIGHTS,) if optimizer.dense == "sgd" else (_WEIGHTS, _ACCUMULATORS)
    return Plan(
        (
            *SharedTables.fields(shape.tables, optimizer),
            *(
                Field(name=f"dense/{name}/{part}", dtype="<f4", shape=tuple(weight.shape))
                for name, weight in shape.dense.named_parameters()
                for part in parts
            ),
            *Journal.fields(windows, workers, measurements),
        )
    )


class SharedMemory:
    """An arm's parameters in a segment, for the creating process and for those that attach."""

    def __init__(self, segment: Segment, optimizer: OptimizerConfig, windows: Windows) -> None:
        self._segment = segment
        self._optimizer = optimizer
        self.journal = Journal(segment, windows)

    @classmethod
    def create(
        cls,
        plan: Plan,
        run: str,
        optimizer: OptimizerConfig,
        windows: Windows,
        directory: Path = SHARED_MEMORY,
    ) -> SharedMemory:
        """Allocate the memory of a plan.

        Raises:
            ConfigError: memory is too small.
        """
        return cls(Segment.create(plan, run, directory), optimizer, windows)

    @classmethod
    def attach(
        cls, address: Address, plan: Plan, optimizer: OptimizerConfig, windows: Windows
    ) -> SharedMemory:
        """Map the memory of another process.

        Raises:
            TrialFailed: it is missing, or of another run.
        """
        return cls(Segment.attach(address, plan), optimizer, windows)

    @property
    def address(self) -> Address:
        return self._segment.address

    def tables(self, tables: list[EmbeddingBagConfig]) -> SharedTables:
        """Return an arm's tables in shared memory."""
        return SharedTables(tables, self._optimizer, self._segment)

    def fill_dense(self, arm: Arm) -> None:
        """Copy an arm's towers to shared memory, with initial optimizer state."""
        for name, weight in arm.dense.named_parameters():
            self._dense(name, _WEIGHTS).copy_(weight.detach())

    def share_dense(self, arm: Arm) -> torch.optim.Optimizer:
        """Move an arm's towers to shared memory; return their optimizer, also in shared memory."""
        for name, weight in arm.dense.named_parameters():
            weight.data = self._dense(name, _WEIGHTS)
        optimizer = dense_optimizer(arm.dense, self._optimizer)
        if self._optimizer.dense != "sgd":
            for name, weight in arm.dense.named_parameters():
                optimizer.state[weight]["sum"] = self._dense(name, _ACCUMULATORS)
        return optimizer

    def parameters(self, arm: Arm) -> Parameters:
        """Return a copy of the arm's weights and accumulators."""
        layout = self._layout(arm)
        found = parameters_of(arm, layout, 0)
        for slab, records in zip(layout.slabs, found.slabs, strict=True):
            for table, first in zip(slab.tables, slab.first_rows, strict=True):
                rows = self._accumulators(arm, table)
                if rows is not None:
                    records[first : first + len(rows), slab.width :] = rows.numpy()
        if layout.dense_parts == 2:
            found.dense[1] = pack_dense(self._sums(arm), 1)[0].numpy()
        return found

    @torch.no_grad()
    def load(self, arm: Arm, parameters: Parameters) -> None:
        """Copy weights and accumulators, as returned by ``parameters``, into the arm."""
        layout = self._layout(arm)
        fill_arm(arm, layout, [parameters])
        for slab, records in zip(layout.slabs, parameters.slabs, strict=True):
            for table, first in zip(slab.tables, slab.first_rows, strict=True):
                rows = self._accumulators(arm, table)
                if rows is not None:
                    rows.copy_(tensor_of(records[first : first + len(rows), slab.width :]))
        if layout.dense_parts == 2:
            unpack_dense(tensor_of(parameters.dense[1:]), self._sums(arm))

    def close(self) -> None:
        """Prevent further attaching; the memory is freed with its last array."""
        self._segment.close()

    def _layout(self, arm: Arm) -> Layout:
        return layout_of(arm.tables, arm.dense, 1, self._optimizer)

    def _accumulators(self, arm: Arm, table: int) -> Tensor | None:
        """Return the accumulators of a table, None for an optimizer without any."""
        return arm.embeddings.accumulators.get(arm.tables[table].name)

    def _sums(self, arm: Arm) -> list[Tensor]:
        return [self._dense(name, _ACCUMULATORS) for name, _ in arm.dense.named_parameters()]

    def _dense(self, name: str, part: str) -> Tensor:
        return tensor_of(self._segment.array(f"dense/{name}/{part}"))
