"""Trains a window: pulled parameters in, the change that they went through out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from distrib.parameter_store.compact_tables import CompactTables
from distrib.parameter_store.layout import layout_of, pack_dense, unpack_dense
from distrib.parameter_store.parameters import Floats, Parameters, tensor_of
from distrib.training.device_transfer import Transfer
from distrib.training.step import dense_optimizer, shape_of_phase, train_step
from distrib.training.windows import Carried, Change, Outcome, Prepared, Staged, Training, Window
from recsys.arms import Logits, Phase
from recsys.config import Recipe
from recsys.data.batch import Batch
from recsys.data.schema import Schema
from recsys.seeds import Seeds


class WindowTrainer:
    """Trains windows of R replicas side by side, with the same steps as the local engine.

    Args:
        recipe: what to train; its optimisers must be additive.
        schema: the features.
        seeds: one for each replica.
        phase: the pass over the stream, and with it the groups of towers.
        batch_count: batches of the whole stream.
        transfer: to where to train.
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
        transfer: Transfer,
        delta_scale: float = 1.0,
    ) -> None:
        self._phase = phase
        self._replicas = len(seeds)
        self._batch_count = batch_count
        self._transfer = transfer
        self._device = device = transfer.device
        self._delta_scale = delta_scale
        self.arm = shape_of_phase(recipe, schema, seeds, phase.groups)
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

    def stage(self, prepared: Prepared, pulled: Sequence[Parameters]) -> Staged:
        """Send a window to the device with what was pulled for it; returns at once.

        ``pulled`` is one ``Parameters`` for each replica, whose memory becomes the trainer's.
        """
        slabs = [_stacked([p.slabs[s] for p in pulled]) for s in range(len(self.layout.slabs))]
        dense = np.stack([p.dense for p in pulled])
        return Staged(
            prepared=prepared,
            batches=self._transfer.send(prepared.compacted.batches),
            records=self._transfer.send([tensor_of(each) for each in (*slabs, dense)]),
        )

    def start(
        self,
        staged: Staged,
        carried: Carried | None = None,
        on_batch: Callable[[int], None] = lambda _: None,
    ) -> Training:
        """Train a window, once what was started before is trained.

        ``on_batch`` is called with the number of examples after each batch: on a GPU, after it is
        handed over.
        """
        return Training(
            staged.prepared,
            lambda: self._train(staged, carried, on_batch),
            now=self._transfer.runs_ahead,
        )

    def train(
        self,
        prepared: Prepared,
        pulled: Sequence[Parameters],
        on_batch: Callable[[int], None] = lambda _: None,
    ) -> Change:
        """Train a window on what was pulled for it, one ``Parameters`` for each replica."""
        return self.start(self.stage(prepared, pulled), on_batch=on_batch).change()

    def _train(
        self, staged: Staged, carried: Carried | None, on_batch: Callable[[int], None]
    ) -> Outcome:
        before = self._transfer.take(staged.records)
        if carried is not None:
            self._carry(before, carried)
        *slabs, dense = before
        self._tables.load(slabs)
        self._load_dense(dense)
        losses, served = self._train_batches(staged, on_batch)
        changes = (*self._tables.read([len(each) for each in slabs]), self._read_dense())
        for change, value in zip(changes, before, strict=True):
            change.sub_(value)
        finite = torch.stack([torch.isfinite(each).all() for each in (losses, *changes)]).all()
        self._scale(changes)
        return Outcome(
            changes=changes,
            told=self._transfer.fetch((finite, served)),
            fetched=self._transfer.fetch(changes),
        )

    def _train_batches(
        self, staged: Staged, on_batch: Callable[[int], None]
    ) -> tuple[Tensor, Tensor]:
        """Return the summed training losses and the served ones, ``(R,)`` each."""
        losses = torch.zeros(self._replicas, device=self._device)
        served = torch.zeros(self._replicas, dtype=torch.float64, device=self._device)
        first = staged.prepared.window.first_batch
        for number, batch in enumerate(self._transfer.take(staged.batches), start=first):
            logits, loss = train_step(
                self.arm,
                self._optimizer,
                batch,
                phase=self._phase.name,
                progress=number / self._batch_count,
            )
            losses += loss
            served += self._served_loss(logits, batch)
            on_batch(batch.examples * batch.replicas)
        return losses, served

    def _carry(self, before: Sequence[Tensor], carried: Carried) -> None:
        """Add a change as a shard will, in the same precision, so that the result is the same."""
        changes = carried.training.outcome().changes
        places = [tensor_of(each) for pair in carried.shared for each in pair]
        there = self._transfer.take(self._transfer.send(places))
        for values, change, to, at in zip(
            before[:-1], changes[:-1], there[::2], there[1::2], strict=True
        ):
            values.index_add_(0, to, change.index_select(0, at))
        before[-1].add_(changes[-1])

    def _served_loss(self, logits: Logits, batch: Batch) -> Tensor:
        if self.arm.config.served.group not in logits:
            return torch.zeros(self._replicas, dtype=torch.float64, device=self._device)
        found = self.arm.config.served_logits(logits).detach()
        return binary_cross_entropy_with_logits(found, batch.labels, reduction="none").sum(1)

    def _load_dense(self, dense: Tensor) -> None:
        unpack_dense(dense[:, 0], self._weights)
        if self._sums:
            unpack_dense(dense[:, 1], self._sums)

    def _read_dense(self) -> Tensor:
        parts = [pack_dense(self._weights, self._replicas)]
        if self._sums:
            parts.append(pack_dense(self._sums, self._replicas))
        return torch.stack(parts, 1)

    def _scale(self, changes: Sequence[Tensor]) -> None:
        if self._delta_scale != 1:
            for slab, change in zip(self.layout.slabs, changes[:-1], strict=True):
                change[:, : slab.width] *= self._delta_scale
            changes[-1][:, 0] *= self._delta_scale


def not_finite(window: Window, *, helps: str = "learning rate or engine.delta_scale") -> str:
    """Return what to tell a person about a window whose change may not be pushed."""
    return (
        f"window {window.number} (batches {window.first_batch} to {window.last_batch}): found NaN "
        "or infinity in its losses or in what it changed, expected finite numbers; a smaller "
        f"{helps} may help"
    )


def _stacked(pieces: Sequence[Floats]) -> Floats:
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
