"""Windows of the stream, and their training from pulled parameters to deltas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from distrib.parameter_store.compact_tables import Compacted, CompactTables
from distrib.parameter_store.layout import Shared, layout_of, pack_dense, unpack_dense
from distrib.parameter_store.shard import Floats, Parameters, Rows, tensor_of
from distrib.training.device_transfer import Fetched, Sent, Transfer
from distrib.training.step import dense_optimizer, shape_of_phase, train_step
from recsys.arms import Logits, Phase
from recsys.config import Recipe
from recsys.data.batch import Batch
from recsys.data.schema import Schema
from recsys.seeds import Seeds


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """Consecutive batches of the stream."""

    number: int
    first_batch: int
    last_batch: int
    """Excluded"""


@dataclass(frozen=True, slots=True)
class Windows(Sequence[Window]):
    """All windows of a stream of ``batches``, ``length`` batches each; the last may be shorter."""

    batches: int
    length: int

    def __len__(self) -> int:
        return (self.batches + self.length - 1) // self.length

    def __getitem__(self, number: int) -> Window:  # type: ignore[override]
        if not 0 <= number < len(self):
            raise IndexError(f"window {number} of {len(self)}")
        first = number * self.length
        return Window(
            number=number,
            first_batch=first,
            last_batch=min(first + self.length, self.batches),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """A window ready for training, and the rows to pull for it."""

    window: Window
    compacted: Compacted
    rows: tuple[tuple[Rows, ...], ...]
    """For each replica, for each slab: the distinct rows, ascending"""
    examples: int
    """Per replica"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Staged:
    """A window and its pulled rows, on the device or on the way there."""

    prepared: Prepared
    batches: Sent[Batch]
    records: Sent[Tensor]
    """Each slab's, replica after replica, then the dense vectors ``(R, dense parts, elements)``"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """The delta of a window for each replica."""

    parameters: tuple[Parameters, ...]
    """After minus before, for each replica the records of its prepared rows; weights scaled"""
    progressive_loss: npt.NDArray[np.float64]
    """``[R]``: log loss of what would be served, each example before it was trained on, summed"""
    is_finite: bool
    """False if a loss or a changed value is NaN or infinite: such a change may not be pushed"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """The results of a window, on the device and on the way to the host."""

    changes: tuple[Tensor, ...]
    """As the records of ``Staged``, on the device"""
    fetched: Fetched
    """The same"""
    told: Fetched
    """Whether all is finite, and the progressive loss; there once the window is trained"""


class Training:
    """A window in training.

    On a GPU it runs asynchronously; on the CPU it starts when its result is requested.
    """

    def __init__(self, prepared: Prepared, run: Callable[[], Outcome], *, now: bool) -> None:
        self._prepared = prepared
        self._run: Callable[[], Outcome] | None = run
        self._found: Outcome | None = None
        if now:
            self.outcome()

    @property
    def is_running(self) -> bool:
        """Return whether a GPU is computing it."""
        return self._found is not None and not self._found.told.is_here

    def is_finite(self) -> bool:
        """Wait until it is trained; False if its delta must not be pushed."""
        return bool(self.outcome().told.wait()[0])

    def change(self) -> Change:
        """Wait until its delta is on the host."""
        finite, served = self.outcome().told.wait()
        *slabs, dense = (each.numpy() for each in self.outcome().fetched.wait())
        return Change(
            parameters=_by_replica(self._prepared, slabs, dense),
            progressive_loss=served.numpy(),
            is_finite=bool(finite),
        )

    def outcome(self) -> Outcome:
        if self._run is not None:
            # Dropped, since it holds the window before.
            self._found, self._run = self._run(), None
        assert self._found is not None
        return self._found


@dataclass(frozen=True, kw_only=True, slots=True)
class Carried:
    """The worker's own delta that its pull does not contain."""

    training: Training
    shared: Shared
    """Which rows of the window it touches, and where they stand in the change"""


def _by_replica(
    prepared: Prepared, changes: Sequence[Floats], dense: Floats
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


class WindowTrainer:
    """Trains windows of R replicas side by side, with the steps of the local engine.

    Args:
        recipe: what to train; its optimizers must be additive.
        schema: the features.
        seeds: one for each replica.
        phase: the pass over the stream, with its groups of towers.
        batch_count: batches of the whole stream.
        transfer: to the training device.
        delta_scale: factor on the delta of weights (not of accumulators).

    Raises:
        ConfigError: the model has non-additive state.
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
        """Find the rows of a window's batches, which are on the host."""
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
        """Send a window and its pulled rows to the device; does not wait.

        ``pulled`` is one ``Parameters`` for each replica; the trainer takes over their memory.
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
        """Train a window, after the previous one.

        ``on_batch`` is called with the number of examples after each batch (on a GPU, after its
        launch).
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
        """Train a window on its pulled rows, one ``Parameters`` for each replica."""
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
        """Return the summed training losses and served losses, ``(R,)`` each."""
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
        """Add a delta as a shard does, in the same precision."""
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
    """Return the message for a window whose delta must not be pushed."""
    return (
        f"window {window.number} (batches {window.first_batch} to {window.last_batch}): found NaN "
        "or infinity in its losses or in what it changed, expected finite numbers; a smaller "
        f"{helps} may help"
    )


def _stacked(pieces: Sequence[Floats]) -> Floats:
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
