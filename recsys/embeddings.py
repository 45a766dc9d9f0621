"""Tables of an arm: configuration, fused optimizer, initial rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from torchrec.modules.embedding_configs import EmbeddingBagConfig
from torchrec.modules.fused_embedding_modules import FusedEmbeddingBagCollection
from torchrec.optim.rowwise_adagrad import RowWiseAdagrad

from recsys.arms import Group
from recsys.config import OptimizerConfig
from recsys.errors import ConfigError
from recsys.models.blueprint import Blueprint

_OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "rowwise_adagrad": RowWiseAdagrad,
    "adagrad": torch.optim.Adagrad,
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
}


def feature_key(replica: int, feature: str) -> str:
    """Return the key of a replica's feature in the fused ``KeyedJaggedTensor``."""
    return f"r{replica}/{feature}"


def table_name(replica: int, group: str, table_set: int, table: str) -> str:
    """Return the name of one table; ``.`` is not allowed in names of modules."""
    return f"r{replica}/{group}{table_set}/{table}".replace(".", "·")


def table_configs(
    groups: Sequence[Group], blueprints: Mapping[str, Blueprint], replicas: int
) -> list[EmbeddingBagConfig]:
    """Return the tables of all groups, replicas and table sets, for one collection.

    Tables are sorted by pooling, because TorchRec's fused collection outputs columns by pooling but
    names them in the order of the tables. Within a pooling the order is group, replica, table set,
    and the blueprint's.
    """
    tables = [
        replace(
            table,
            name=table_name(replica, group.name, table_set, table.name),
            feature_names=[feature_key(replica, name) for name in table.feature_names],
        )
        for group in groups
        for replica in range(replicas)
        for table_set in range(group.table_sets)
        for table in blueprints[group.name].tables
    ]
    return sorted(tables, key=lambda table: table.pooling.value)


class Columns(nn.Module):
    """Selects the columns of some tables, in a given order, from the output of a collection.

    Input ``(B, all columns)``, output ``(B, columns of the named tables)``.
    """

    index: Tensor | None

    def __init__(self, tables: Sequence[EmbeddingBagConfig], names: Iterable[str]) -> None:
        super().__init__()
        widths = [columns_of(table) for table in tables]
        starts = accumulate(widths, initial=0)
        spans = {
            table.name: range(start, start + width)
            for table, start, width in zip(tables, starts, widths, strict=False)
        }
        self._picked = [column for name in names for column in spans[name]]
        self.register_buffer("index", None, persistent=False)
        self._read(self._picked, torch.device("cpu"))

    def rearranged(self, places: Sequence[int], device: torch.device) -> None:
        """Adapt to columns in another order: column i moved to ``places[i]``."""
        self._read([places[column] for column in self._picked], device)

    def _read(self, picked: Sequence[int], device: torch.device) -> None:
        self._first, self._count = picked[0], len(picked)
        contiguous = list(picked) == list(range(picked[0], picked[0] + len(picked)))
        self.index = None if contiguous else torch.tensor(picked, device=device)

    def forward(self, values: Tensor) -> Tensor:
        if self.index is None:
            return values.narrow(1, self._first, self._count)
        return values.index_select(1, self.index)


def columns_of(table: EmbeddingBagConfig) -> int:
    """Return the number of output columns of a table: its width times its features."""
    return table.embedding_dim * len(table.feature_names)


def fused_collection(
    tables: list[EmbeddingBagConfig], optimizer: OptimizerConfig, device: torch.device
) -> FusedEmbeddingBagCollection:
    """Return tables with a fused FBGEMM optimizer: the backward pass updates them.

    Raises:
        ConfigError: FBGEMM does not have the optimizer on this device.
    """
    if optimizer.sparse == "adam" and device.type == "cpu":
        raise ConfigError(
            "optimizer.sparse: found adam on a CPU, where FBGEMM has none; "
            "expected rowwise_adagrad, adagrad or sgd"
        )
    kind, settings = table_optimizer(optimizer)
    return FusedEmbeddingBagCollection(
        tables=tables, optimizer_type=kind, optimizer_kwargs=settings, device=device
    )


def table_optimizer(
    optimizer: OptimizerConfig,
) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    """Return the class and the arguments of the tables' optimizer."""
    settings: dict[str, Any] = {"lr": optimizer.sparse_learning_rate}
    if optimizer.sparse != "sgd":
        settings["eps"] = optimizer.eps
    return _OPTIMIZERS[optimizer.sparse], settings


class WithoutRows(nn.Module):
    """Replaces a collection of tables: shapes on the meta device, without memory."""

    def __init__(self, tables: Sequence[EmbeddingBagConfig]) -> None:
        super().__init__()
        self.embedding_bags = nn.ModuleDict()
        for table in tables:
            bag = nn.Module()
            bag.weight = nn.Parameter(
                torch.empty(table.num_embeddings, table.embedding_dim, device="meta")
            )
            self.embedding_bags[table.name] = bag


def uniform_rows(rows: int, width: int, generator: torch.Generator) -> Tensor:
    """Return a table ``(rows, width)`` uniform in ``±1/sqrt(rows)``, TorchRec's default range.

    Drawn on the CPU, so that every device starts from the same rows.
    """
    bound = rows**-0.5
    return torch.rand(rows, width, generator=generator).mul_(2 * bound).sub_(bound)
