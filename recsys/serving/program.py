"""The served part of an arm in PyTorch operations only, for export."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchrec.modules.embedding_configs import EmbeddingBagConfig, PoolingType

from recsys.data.schema import Schema
from recsys.models.built_in import Stacked
from recsys.module import Arm
from recsys.serving.loader import Bag

_MODES = {PoolingType.SUM: "sum", PoolingType.MEAN: "mean"}


class Program(nn.Module):
    """Probabilities ``(B,)`` of the served part of one replica, with a copy of its weights.

    Inputs, in the order of the schema: dense features ``(B, D)`` float32, ids of single-valued
    features ``(B, T)`` int64, and a ``Bag`` for each multi-valued feature.
    """

    def __init__(self, arm: Arm) -> None:
        super().__init__()
        (group,) = arm.groups
        tables = list(arm.blueprints[group.name].tables)
        rows = [
            arm.table(0, group.name, table_set, table.name).detach().cpu()
            for table_set in range(group.table_sets)
            for table in tables
        ]
        self._towers, self._table_sets = group.towers, group.table_sets
        self._head = arm.config.served.head
        self.lookup = _Lookup(tables * group.table_sets, rows, arm.schema)
        towers = arm.dense.towers[group.name]
        # Networks that a user wrote run one by one, as written: torch.func is not to be exported.
        self.towers = _InTurn(towers.apart()) if isinstance(towers, Stacked) else towers
        self.eval().requires_grad_(False)

    def forward(self, dense: Tensor, ids: Tensor, bags: tuple[Bag, ...]) -> Tensor:
        sets = self.lookup(ids, bags).unflatten(1, (self._table_sets, -1)).transpose(0, 1)
        embedded = sets.expand(self._towers, -1, -1)
        logits = self.towers(dense.expand(self._towers, -1, -1), embedded)
        return torch.sigmoid(logits[..., self._head].mean(0))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Read:
    """A table read by a feature."""

    columns: range
    """Where its columns belong in what comes out"""
    first_row: int
    """Of the table, among all rows of its width"""
    feature: int
    """Number among the single-valued features, or among the multi-valued ones"""
    mode: str | None
    """How a bag is pooled; None for a single-valued feature"""


class _Lookup(nn.Module):
    """Rows ``(B, T)`` and bags to columns ``(B, C)`` of all tables, in the order of the tables."""

    def __init__(
        self, tables: Sequence[EmbeddingBagConfig], rows: Sequence[Tensor], schema: Schema
    ) -> None:
        super().__init__()
        reads = _reads(tables, schema)
        widths = [
            _TablesOfAWidth(
                torch.cat([each for each in rows if each.shape[1] == width]),
                [read for read in reads if len(read.columns) == width],
            )
            for width in sorted({table.embedding_dim for table in tables})
        ]
        self.widths = nn.ModuleList(widths)
        starts = [start for one in widths for start in one.starts]
        self._order = sorted(range(len(starts)), key=starts.__getitem__)

    def forward(self, ids: Tensor, bags: tuple[Bag, ...]) -> Tensor:
        pieces = [piece for one in self.widths for piece in one(ids, bags)]
        return torch.cat([pieces[number] for number in self._order], 1)


class _TablesOfAWidth(nn.Module):
    """Concatenated tables, read with one operation for all single-valued features.

    Returns pieces ``(B, ·)``; ``starts`` has the first column of each.
    """

    features: Tensor
    first_rows: Tensor

    def __init__(self, rows: Tensor, reads: Sequence[_Read]) -> None:
        super().__init__()
        singles = [read for read in reads if read.mode is None]
        self._bags = [(read, read.mode) for read in reads if read.mode is not None]
        runs = _runs([read.columns for read in singles])
        self._sizes = [len(run) for run in runs]
        self.starts = [run.start for run in (*runs, *(read.columns for read, _ in self._bags))]
        self.rows = nn.Parameter(rows)
        self.register_buffer("features", torch.tensor([read.feature for read in singles]))
        self.register_buffer("first_rows", torch.tensor([read.first_row for read in singles]))

    def forward(self, ids: Tensor, bags: tuple[Bag, ...]) -> list[Tensor]:
        pieces: list[Tensor] = []
        if self._sizes:
            rows = ids.index_select(1, self.features) + self.first_rows
            pieces += F.embedding(rows, self.rows).flatten(1).split(self._sizes, 1)
        for read, mode in self._bags:
            values, starts = bags[read.feature]
            rows = values + read.first_row
            pieces.append(F.embedding_bag(rows, self.rows, starts, mode=mode))
        return pieces


def _runs(columns: Sequence[range]) -> list[range]:
    """Merge adjacent ranges."""
    runs: list[range] = []
    for one in columns:
        if runs and runs[-1].stop == one.start:
            runs[-1] = range(runs[-1].start, one.stop)
        else:
            runs.append(one)
    return runs


class _InTurn(nn.Module):
    """n networks one after another: ``(n, B, D)`` and ``(n, B, C)`` to ``(n, B, heads)``."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, dense: Tensor, embedded: Tensor) -> Tensor:
        logits = torch.stack([one(dense[i], embedded[i]) for i, one in enumerate(self.networks)])
        return logits if logits.dim() == 3 else logits.unsqueeze(-1)


def _reads(tables: Sequence[EmbeddingBagConfig], schema: Schema) -> list[_Read]:
    """Return all (table, feature) reads, in the order of tables and of each table's features."""
    singles = [feature.name for feature in schema.single_valued]
    bags = [feature.name for feature in schema.multi_valued]
    first_rows = dict.fromkeys((table.embedding_dim for table in tables), 0)
    reads: list[_Read] = []
    column = 0
    for table in tables:
        width = table.embedding_dim
        for name in table.feature_names:
            is_single = name in singles
            reads.append(
                _Read(
                    columns=range(column, column + width),
                    first_row=first_rows[width],
                    feature=(singles if is_single else bags).index(name),
                    mode=None if is_single else _MODES[table.pooling],
                )
            )
            column += width
        first_rows[width] += table.num_embeddings
    return reads
