"""One replica's parameters in a store: slabs of rows, one dense vector, and row routing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torchrec.modules.embedding_configs import EmbeddingBagConfig, PoolingType

from distrib.parameter_store.shard import (
    Parameters,
    Rows,
    dense_span,
    digest,
    rows_by_shard,
    tensor_of,
)
from recsys.config import OptimizerConfig
from recsys.errors import ConfigError
from recsys.module import Arm


@dataclass(frozen=True, kw_only=True, slots=True)
class Slab:
    """Tables of one width and pooling, concatenated by rows.

    A record has ``width`` weights, then ``state`` accumulators.
    """

    width: int
    state: int
    pooling: PoolingType
    tables: tuple[int, ...]
    """Positions among the tables of one replica"""
    first_rows: tuple[int, ...]
    """Where each table begins in the slab"""
    rows: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """The slabs and the dense vector of one replica.

    The dense vector is ``(dense_parts, dense)`` float32: the weights, and the accumulators if the
    dense optimizer has any.
    """

    slabs: tuple[Slab, ...]
    dense: int
    dense_parts: int

    @property
    def bytes(self) -> int:
        """Size of all parameters and accumulators."""
        elements = sum(slab.rows * (slab.width + slab.state) for slab in self.slabs)
        return 4 * (elements + self.dense * self.dense_parts)


def replica_tables(tables: Sequence[EmbeddingBagConfig], replica: int) -> list[int]:
    """Return the positions of a replica's tables, in the same order for all replicas."""
    prefix = f"r{replica}/"  # recsys.embeddings.table_name
    return [i for i, table in enumerate(tables) if table.name.startswith(prefix)]


def layout_of(
    tables: Sequence[EmbeddingBagConfig],
    dense: nn.Module,
    replicas: int,
    optimizer: OptimizerConfig,
) -> Layout:
    """Return the layout of each of an arm's replicas.

    Raises:
        ConfigError: the dense part has state that no optimizer updates.
    """
    refuse_buffers(dense)
    own = [tables[i] for i in replica_tables(tables, 0)]
    kinds = sorted({(t.pooling, t.embedding_dim) for t in own}, key=lambda k: (k[0].value, k[1]))
    slabs = []
    for pooling, width in kinds:
        of_kind = [i for i, t in enumerate(own) if (t.pooling, t.embedding_dim) == (pooling, width)]
        ends = torch.tensor([own[i].num_embeddings for i in of_kind]).cumsum(0).tolist()
        slabs.append(
            Slab(
                width=width,
                state={"sgd": 0, "rowwise_adagrad": 1, "adagrad": width}[optimizer.sparse],
                pooling=pooling,
                tables=tuple(of_kind),
                first_rows=(0, *ends[:-1]),
                rows=ends[-1],
            )
        )
    return Layout(
        slabs=tuple(slabs),
        dense=sum(parameter.numel() for parameter in dense.parameters()) // replicas,
        dense_parts=1 if optimizer.dense == "sgd" else 2,
    )


def refuse_buffers(dense: nn.Module) -> None:
    """Raise ConfigError if the dense part has buffers, such as batch-norm statistics."""
    parameters = {name for name, _ in dense.named_parameters()}
    kept = sorted(set(dense.state_dict()) - parameters)
    if kept:
        raise ConfigError(
            f"model: found the buffer {kept[0]}, which no optimizer updates, so asynchronous "
            "workers cannot share it; expected parameters only (layer norm, not batch norm)"
        )


def pack_dense(parameters: Sequence[Tensor], replicas: int) -> Tensor:
    """Return stacked tensors (first dimension replica-major) as ``(R, elements)``."""
    return torch.cat([p.detach().reshape(replicas, -1) for p in parameters], dim=1)


@torch.no_grad()
def unpack_dense(packed: Tensor, parameters: Sequence[Tensor]) -> None:
    """Copy ``(R, elements)`` into the tensors that ``pack_dense`` was called with."""
    widths = [p.numel() // packed.shape[0] for p in parameters]
    for parameter, part in zip(parameters, packed.split(widths, dim=1), strict=True):
        parameter.copy_(part.reshape(parameter.shape))


def parameters_of(arm: Arm, layout: Layout, replica: int) -> Parameters:
    """Return a copy of a replica's weights, with zero accumulators."""
    own = replica_tables(arm.tables, replica)
    bags = arm.embeddings.embedding_bags
    slabs = []
    for slab in layout.slabs:
        records = np.zeros((slab.rows, slab.width + slab.state), np.float32)
        for table, first in zip(slab.tables, slab.first_rows, strict=True):
            weight = bags[arm.tables[own[table]].name].weight.detach().cpu().numpy()
            records[first : first + len(weight), : slab.width] = weight
        slabs.append(records)
    dense = np.zeros((layout.dense_parts, layout.dense), np.float32)
    dense[0] = pack_dense(list(arm.dense.parameters()), len(arm.seeds))[replica].cpu().numpy()
    return Parameters(slabs=tuple(slabs), dense=dense)


@torch.no_grad()
def fill_arm(arm: Arm, layout: Layout, replicas: Sequence[Parameters]) -> None:
    """Copy the weights of all replicas into an arm; optimizer state is unchanged."""
    bags = arm.embeddings.embedding_bags
    for replica, parameters in enumerate(replicas):
        own = replica_tables(arm.tables, replica)
        for slab, records in zip(layout.slabs, parameters.slabs, strict=True):
            weights = tensor_of(records)[:, : slab.width]
            for table, first in zip(slab.tables, slab.first_rows, strict=True):
                weight = bags[arm.tables[own[table]].name].weight
                weight.copy_(weights[first : first + len(weight)])
    dense = torch.stack([tensor_of(each.dense[0]) for each in replicas])
    unpack_dense(dense, list(arm.dense.parameters()))


def digests(arm: Arm, layout: Layout, parameters: Parameters) -> dict[str, str]:
    """Return the SHA-256 of every tensor of a replica, including accumulators."""
    own = replica_tables(arm.tables, 0)
    found = {}
    for slab, records in zip(layout.slabs, parameters.slabs, strict=True):
        for table, first in zip(slab.tables, slab.first_rows, strict=True):
            config = arm.tables[own[table]]
            rows = records[first : first + config.num_embeddings]
            found[f"{config.name}/weights"] = digest(rows[:, : slab.width])
            if slab.state:
                found[f"{config.name}/accumulators"] = digest(rows[:, slab.width :])
    first = 0
    for name, weight in arm.dense.named_parameters():
        size = weight.numel() // len(arm.seeds)
        for part, values in zip(("weights", "accumulators"), parameters.dense, strict=False):
            found[f"dense/{name}/{part}"] = digest(values[first : first + size])
        first += size
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """The shard of each row of a window; ``window`` has each slab's distinct rows, ascending."""

    window: tuple[Rows, ...]
    places: tuple[tuple[Rows, ...], ...]
    """For each shard, for each slab: positions among the window's rows"""
    rows: tuple[tuple[Rows, ...], ...]
    """For each shard, for each slab: the rows' numbers there"""

    @classmethod
    def of(cls, window: tuple[Rows, ...], shards: int) -> Route:
        """Return the route of a window's rows to S shards."""
        by_slab = [rows_by_shard(rows, shards) for rows in window]
        places = tuple(tuple(slab[shard] for slab in by_slab) for shard in range(shards))
        numbers = tuple(
            tuple(rows[at] // shards for rows, at in zip(window, each, strict=True))
            for each in places
        )
        return cls(window=window, places=places, rows=numbers)

    def part(self, change: Parameters, shard: int) -> Parameters:
        """Return a shard's part of a window's delta."""
        shards = len(self.places)
        if shards == 1:
            return change
        first, last = dense_span(change.dense.shape[1], shard, shards)
        return Parameters(
            slabs=tuple(
                slab[at] for slab, at in zip(change.slabs, self.places[shard], strict=True)
            ),
            dense=change.dense[:, first:last],
        )

    def join(self, parts: Sequence[Parameters]) -> Parameters:
        """Return the parameters of a window from those of all shards, as a copy."""
        slabs = []
        for slab, rows in enumerate(self.window):
            whole = np.empty((len(rows), parts[0].slabs[slab].shape[1]), np.float32)
            if len(parts) == 1:
                whole[:] = parts[0].slabs[slab]
            else:
                for part, places in zip(parts, self.places, strict=True):
                    whole[places[slab]] = part.slabs[slab]
            slabs.append(whole)
        return Parameters(
            slabs=tuple(slabs), dense=np.concatenate([part.dense for part in parts], axis=1)
        )


Shared = tuple[tuple[Rows, Rows], ...]
"""For each slab, where the rows of two windows that both touch stand in the one and the other."""


def shared_rows(route: Route, other: Route) -> Shared:
    """Return the positions, in each of two windows, of the rows that both have."""
    found = []
    for rows, theirs in zip(route.window, other.window, strict=True):
        places = np.searchsorted(rows, theirs)
        if len(rows):
            np.minimum(places, len(rows) - 1, out=places)
            both = np.flatnonzero(rows[places] == theirs)
        else:
            both = np.empty(0, np.int64)
        found.append((places[both], both))
    return tuple(found)


def apply_own_delta(target: Parameters, route: Route, change: Parameters, changed: Route) -> None:
    """Add the worker's own delta to rows that were pulled before its push arrived.

    It is the shard's addition in the same precision, so the result is the same.
    """
    for values, by, (to, at) in zip(
        target.slabs, change.slabs, shared_rows(route, changed), strict=True
    ):
        values[to] += by[at]
    target.dense[:] += change.dense
