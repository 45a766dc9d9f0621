"""Compact tables: the rows that one window reads, in one FBGEMM kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torchrec.modules.embedding_configs import EmbeddingBagConfig
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor, KeyedTensor

from distrib.parameter_store.layout import Layout, replica_tables
from distrib.parameter_store.shard import Rows
from recsys.config import OptimizerConfig
from recsys.data.batch import Batch
from recsys.embeddings import fused_collection

_ROOM = 1.25
"""Room beyond the rows of the window that made the tables grow: the next has about as many."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Compacted:
    """A window's batches, with ids that index its distinct rows."""

    batches: tuple[Batch, ...]
    rows: tuple[Rows, ...]
    """For each slab the distinct rows, ascending, replica after replica: ``r * slab.rows + row``"""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Read:
    """One feature that one table reads."""

    key: str
    first_row: int
    """Where the table begins among the slab's rows of all replicas"""
    columns: range
    """Where it stands among the columns that an uncompacted collection puts out"""


class CompactTables(nn.Module):
    """R replicas' tables, reduced to the rows of one window.

    All tables of a slab, over all replicas, are one table here, indexed by the window's distinct
    rows; so weights and accumulators are transferred as one matrix per slab. Output columns are
    those of the full tables.
    """

    def __init__(
        self,
        tables: Sequence[EmbeddingBagConfig],
        layout: Layout,
        replicas: int,
        optimizer: OptimizerConfig,
        device: torch.device,
    ) -> None:
        super().__init__()
        self._layout = layout
        self._optimizer = optimizer
        self._device = device
        self._reads = _reads(tables, layout, replicas)
        order = [column for reads in self._reads for read in reads for column in read.columns]
        where = np.argsort(np.array(order))
        in_order = np.array_equal(where, np.arange(len(where)))
        self._columns = None if in_order else torch.from_numpy(where).to(device)
        self._length_per_key = [
            table.embedding_dim for table in tables for _ in table.feature_names
        ]
        self._keys = [str(i) for i in range(len(self._length_per_key))]
        self._capacity = [0] * len(layout.slabs)
        self._weights: list[Tensor] = []
        self._states: list[Tensor | None] = []

    def forward(self, sparse: KeyedJaggedTensor) -> KeyedTensor:
        values = self.collection(sparse).values()
        if self._columns is not None:
            values = values.index_select(1, self._columns)
        return KeyedTensor(self._keys, self._length_per_key, values)

    def compact(self, batches: Sequence[Batch]) -> Compacted:
        """Index the distinct rows of a window; its batches stay on the host."""
        ids: list[npt.NDArray[np.int32]] = []
        rows: list[Rows] = []
        sources = [_Source(batch.sparse) for batch in batches]
        for reads in self._reads:
            keys = [key for source in sources for key in source.rows(reads)]
            distinct, ranks = distinct_rows(np.concatenate(keys))
            rows.append(distinct)
            ids.append(ranks)
        taken = [0] * len(self._reads)
        compacted = []
        for batch, source in zip(batches, sources, strict=True):
            values, lengths = [], []
            for slab, reads in enumerate(self._reads):
                count = source.count(reads)
                values.append(ids[slab][taken[slab] : taken[slab] + count])
                taken[slab] += count
                lengths += source.lengths(reads)
            compacted.append(_with_sparse(batch, self._keys, values, lengths))
        return Compacted(batches=tuple(compacted), rows=tuple(rows))

    @torch.no_grad()
    def load(self, records: Sequence[Tensor]) -> None:
        """Load the records of a window's distinct rows, one matrix on the device per slab."""
        self._make_room([len(each) for each in records])
        for slab, weight, state, found in zip(
            self._layout.slabs, self._weights, self._states, records, strict=True
        ):
            weight[: len(found)].copy_(found[:, : slab.width])
            if state is not None:
                state[: len(found)].copy_(found[:, slab.width :].reshape(-1, *state.shape[1:]))

    @torch.no_grad()
    def read(self, counts: Sequence[int]) -> list[Tensor]:
        """Return copies of the first records of each slab, on the device."""
        found = []
        for slab, weight, state, count in zip(
            self._layout.slabs, self._weights, self._states, counts, strict=True
        ):
            parts = [weight[:count]]
            if state is not None:
                parts.append(state[:count].reshape(count, slab.state))
            found.append(torch.cat(parts, 1))
        return found

    def _make_room(self, counts: Sequence[int]) -> None:
        if self._weights and all(c <= have for c, have in zip(counts, self._capacity, strict=True)):
            return
        self._capacity = [
            have if count <= have and have else max(int(count * _ROOM), 1)
            for count, have in zip(counts, self._capacity, strict=True)
        ]
        names, first = [], 0
        for reads in self._reads:
            names.append(self._keys[first : first + len(reads)])
            first += len(reads)
        self.collection = fused_collection(
            [
                EmbeddingBagConfig(
                    name=f"slab{i}",
                    num_embeddings=self._capacity[i],
                    embedding_dim=slab.width,
                    feature_names=names[i],
                    pooling=slab.pooling,
                )
                for i, slab in enumerate(self._layout.slabs)
            ],
            self._optimizer,
            self._device,
        )
        bags = self.collection.embedding_bags
        states = self.collection.fused_optimizer().state_dict()["state"]
        self._weights = [bags[f"slab{i}"].weight.data for i in range(len(self._capacity))]
        self._states = [_accumulator(states, f"slab{i}") for i in range(len(self._capacity))]


class _Source:
    """A batch's features by key, as host arrays."""

    def __init__(self, sparse: KeyedJaggedTensor) -> None:
        offsets = sparse.offset_per_key()
        self._position = {key: i for i, key in enumerate(sparse.keys())}
        self._spans = [slice(start, stop) for start, stop in pairwise(offsets)]
        self._values = sparse.values().numpy()
        self._lengths = sparse.lengths().numpy().reshape(len(self._spans), -1)

    def rows(self, reads: Sequence[_Read]) -> list[Rows]:
        return [
            self._values[self._spans[self._position[read.key]]].astype(np.int64) + read.first_row
            for read in reads
        ]

    def count(self, reads: Sequence[_Read]) -> int:
        spans = [self._spans[self._position[read.key]] for read in reads]
        return sum(span.stop - span.start for span in spans)

    def lengths(self, reads: Sequence[_Read]) -> list[npt.NDArray[np.int32]]:
        return [self._lengths[self._position[read.key]] for read in reads]


def distinct_rows(rows: Rows) -> tuple[Rows, npt.NDArray[np.int32]]:
    """Return the distinct rows, ascending, and the index of each row among them.

    Like ``numpy.unique`` with inverse, but three times faster: row and position are sorted as one
    integer, which numpy vectorises.
    """
    bits = max(len(rows) - 1, 1).bit_length()
    if not len(rows) or int(rows.max()) >> (62 - bits):
        found, inverse = np.unique(rows, return_inverse=True)
        return found, inverse.astype(np.int32)
    packed = (rows << bits) | np.arange(len(rows))
    packed.sort()
    ordered = packed >> bits
    is_first = np.empty(len(rows), bool)
    is_first[0] = True
    np.not_equal(ordered[1:], ordered[:-1], out=is_first[1:])
    ranks = np.empty(len(rows), np.int32)
    ranks[packed & ((1 << bits) - 1)] = np.cumsum(is_first, dtype=np.int32) - 1
    return ordered[is_first], ranks


def _reads(
    tables: Sequence[EmbeddingBagConfig], layout: Layout, replicas: int
) -> tuple[tuple[_Read, ...], ...]:
    """Return the features read from each slab, for all replicas."""
    place: dict[int, tuple[int, int]] = {}
    for replica in range(replicas):
        own = replica_tables(tables, replica)
        for number, slab in enumerate(layout.slabs):
            for table, first in zip(slab.tables, slab.first_rows, strict=True):
                place[own[table]] = (number, replica * slab.rows + first)
    found: list[list[_Read]] = [[] for _ in layout.slabs]
    column = 0
    for i, table in enumerate(tables):
        number, first = place[i]
        for key in table.feature_names:
            columns = range(column, column + table.embedding_dim)
            found[number].append(_Read(key=key, first_row=first, columns=columns))
            column += table.embedding_dim
    return tuple(tuple(reads) for reads in found)


def _with_sparse(
    batch: Batch,
    keys: list[str],
    values: Sequence[npt.NDArray[np.int32]],
    lengths: Sequence[npt.NDArray[np.int32]],
) -> Batch:
    length_per_key = [int(each.sum()) for each in lengths]
    return Batch(
        labels=batch.labels,
        dense=batch.dense,
        sparse=KeyedJaggedTensor(
            keys=keys,
            values=torch.from_numpy(np.concatenate(values)),
            lengths=torch.from_numpy(np.concatenate(lengths)),
            stride=batch.examples,
            length_per_key=length_per_key,
            offset_per_key=np.concatenate(([0], np.cumsum(length_per_key))).tolist(),
        ),
    )


def _accumulator(states: Mapping[str, Mapping[str, Tensor]], name: str) -> Tensor | None:
    """Return the kernel's accumulators of a table, None for an optimizer without any."""
    state = states.get(f"{name}.weight")
    return None if state is None else state[f"{name}.weight.momentum_1"]
