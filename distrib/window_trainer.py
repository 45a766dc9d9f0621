"""Trains a window: pulled parameters in, the change that they went through out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torchrec.modules.embedding_configs import EmbeddingBagConfig

from distrib.store.compact import Compacted, CompactTables
from distrib.store.layout import layout_of, pack_dense, unpack_dense
from distrib.store.parameters import Floats, Parameters, Rows, tensor_of
from distrib.training import dense_optimizer, train_step
from distrib.windows import Window
from recsys.arms import Logits, Phase
from recsys.config import Recipe
from recsys.data.batch import Batch
from recsys.data.schema import Schema
from recsys.module import Arm
from recsys.seeds import Seeds


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """A window ready to be trained, and what must be pulled for it."""

    window: Window
    compacted: Compacted
    rows: tuple[tuple[Rows, ...], ...]
    """For each replica, for each slab: the distinct rows, ascending"""
    examples: int
    """Per replica"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What training a window did to each replica."""

    parameters: tuple[Parameters, ...]
    """After minus before, for each replica the records of its prepared rows; weights scaled"""
    progressive_loss: npt.NDArray[np.float64]
    """``[R]``: log loss of what would be served, each example before it was trained on, summed"""
    is_finite: bool
    """False if a loss or a changed value is NaN or infinite: such a change may not be pushed"""


class WindowTrainer:
    """Trains windows of R replicas side by side, with the same steps as the local engine.

    Args:
        recipe: what to train; its optimisers must be additive.
        schema: the features.
        seeds: one for each replica.
        phase: the pass over the stream, and with it the groups of towers.
        batch_count: batches of the whole stream.
        device: where to train.
        delta_scale: factor on the change of weights (not of accumulators, which count).

    Raises:
        ConfigError: a model with state that cannot be added up.
    """

    def __init__(
        self,
        recipe: Recipe,
        schema: Schema,
        seeds: Sequence[Seeds],
        phase: Phase,
        *,
        batch_count: int,
        device: torch.device,
        delta_scale: float = 1.0,
    ) -> None:
        self._phase = phase
        self._replicas = len(seeds)
        self._batch_count = batch_count
        self._device = device
        self._delta_scale = delta_scale
        groups = recipe.arm.layout(recipe.model.embedding_dim)
        self.arm = Arm(
            recipe.arm,
            recipe.model,
            schema,
            seeds,
            _WithoutRows,
            groups=[group for group in groups if group.name in phase.groups],
        )
        self.layout = layout_of(self.arm.tables, self.arm.dense, len(seeds), recipe.optimizer)
        self._tables = CompactTables(
            self.arm.tables, self.layout, len(seeds), recipe.optimizer, device
        )
        self.arm.embeddings = self._tables
        self.arm.to(device)
        self._optimizer = dense_optimizer(self.arm.dense, recipe.optimizer)
        self._weights = list(self.arm.dense.parameters())
        self._sums: list[Tensor] = []
        if self.layout.dense_parts == 2:
            self._sums = [self._optimizer.state[weight]["sum"] for weight in self._weights]

    def prepare(self, window: Window, batches: Sequence[Batch]) -> Prepared:
        """Find the rows that a window's batches touch, which are on the host."""
        compacted = self._tables.compact(batches)
        replicas = range(self._replicas)
        bounds = [
            np.searchsorted(rows, np.arange(self._replicas + 1) * slab.rows)
            for rows, slab in zip(compacted.rows, self.layout.slabs, strict=True)
        ]
        return Prepared(
            window=window,
            compacted=compacted,
            rows=tuple(
                tuple(
                    rows[bound[r] : bound[r + 1]] - r * slab.rows
                    for rows, bound, slab in zip(
                        compacted.rows, bounds, self.layout.slabs, strict=True
                    )
                )
                for r in replicas
            ),
            examples=sum(batch.examples for batch in batches),
        )

    def train(
        self,
        prepared: Prepared,
        pulled: Sequence[Parameters],
        on_batch: Callable[[int], None] = lambda _: None,
    ) -> Change:
        """Train a window on what was pulled for it, one ``Parameters`` for each replica.

        ``on_batch`` is called with the number of examples after each batch.
        """
        before = [_stacked([p.slabs[s] for p in pulled]) for s in range(len(self.layout.slabs))]
        dense_before = np.stack([p.dense for p in pulled])
        self._tables.load(before)
        self._load_dense(dense_before)
        served = torch.zeros(self._replicas, dtype=torch.float64, device=self._device)
        trained_for = torch.zeros(self._replicas, device=self._device)
        for number, on_host in enumerate(
            prepared.compacted.batches, start=prepared.window.first_batch
        ):
            batch = on_host.to(self._device)
            logits, losses = train_step(
                self.arm,
                self._optimizer,
                batch,
                phase=self._phase.name,
                progress=number / self._batch_count,
            )
            trained_for += losses
            served += self._served_loss(logits, batch)
            on_batch(batch.examples * batch.replicas)
        after = self._tables.read([len(each) for each in before])
        changes = [np.subtract(a, b, out=a) for a, b in zip(after, before, strict=True)]
        dense = self._read_dense() - dense_before
        finite = bool(torch.isfinite(trained_for).all()) and all(
            bool(torch.isfinite(tensor_of(each)).all()) for each in (*changes, dense)
        )
        self._scale(changes, dense)
        return Change(
            parameters=self._by_replica(prepared, changes, dense),
            progressive_loss=served.cpu().numpy(),
            is_finite=finite,
        )

    def _served_loss(self, logits: Logits, batch: Batch) -> Tensor:
        if self.arm.config.served.group not in logits:
            return torch.zeros(self._replicas, dtype=torch.float64, device=self._device)
        found = self.arm.config.served_logits(logits).detach()
        return binary_cross_entropy_with_logits(found, batch.labels, reduction="none").sum(1)

    def _load_dense(self, dense: Floats) -> None:
        arrived = tensor_of(dense).to(self._device, non_blocking=True)
        unpack_dense(arrived[:, 0], self._weights)
        if self._sums:
            unpack_dense(arrived[:, 1], self._sums)

    def _read_dense(self) -> Floats:
        parts = [pack_dense(self._weights, self._replicas)]
        if self._sums:
            parts.append(pack_dense(self._sums, self._replicas))
        return torch.stack(parts, 1).cpu().numpy()

    def _scale(self, changes: Sequence[Floats], dense: Floats) -> None:
        if self._delta_scale != 1:
            for slab, change in zip(self.layout.slabs, changes, strict=True):
                change[:, : slab.width] *= self._delta_scale
            dense[:, 0] *= self._delta_scale

    def _by_replica(
        self, prepared: Prepared, changes: Sequence[Floats], dense: Floats
    ) -> tuple[Parameters, ...]:
        ends = [0] * len(changes)
        found = []
        for replica, rows in enumerate(prepared.rows):
            starts, ends = ends, [end + len(each) for end, each in zip(ends, rows, strict=True)]
            found.append(
                Parameters(
                    slabs=tuple(
                        change[start:end]
                        for change, start, end in zip(changes, starts, ends, strict=True)
                    ),
                    dense=dense[replica],
                )
            )
        return tuple(found)


def not_finite(window: Window) -> str:
    """Return what to tell a person about a window whose change may not be pushed."""
    return (
        f"window {window.number} (batches {window.first_batch} to {window.last_batch}): found NaN "
        "or infinity in its losses or in what it changed, expected finite numbers; a smaller "
        "learning rate or engine.delta_scale may help"
    )


class _WithoutRows(nn.Module):
    """Stands in for whole tables while an arm is built: shapes without memory."""

    def __init__(self, tables: list[EmbeddingBagConfig]) -> None:
        super().__init__()
        self.embedding_bags = nn.ModuleDict()
        for table in tables:
            bag = nn.Module()
            bag.weight = nn.Parameter(
                torch.empty(table.num_embeddings, table.embedding_dim, device="meta")
            )
            self.embedding_bags[table.name] = bag


def _stacked(pieces: Sequence[Floats]) -> Floats:
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
