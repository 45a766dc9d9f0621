"""A rank's part of a batch: input, logits, and the loss whose sum over ranks is the batch's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, pad
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor, KeyedTensor
from torchrec.streamable import Pipelineable

from recsys.arms import ArmConfig, Logits
from recsys.data.batch import Batch
from recsys.data.stream import Batches, Stream, part
from recsys.data.stream import part as part_of
from recsys.embeddings import Columns
from recsys.engines import SyncEngine
from recsys.module import Towers


@dataclass(frozen=True, kw_only=True, slots=True)
class RankGroup:
    """``count`` processes that train together; this one is number ``rank``."""

    rank: int
    count: int
    per_node: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        return self.rank == 0


@dataclass(frozen=True, kw_only=True)
class Part(Pipelineable):  # type: ignore[misc]
    """A rank's part of a batch.

    Collective operations need parts of equal length, so the last ranks' parts may be padded with
    examples that read no row and have no loss.
    """

    batch: Batch
    examples: int
    """How many are examples; they come first"""
    batch_examples: int
    """How many the batch has, over all ranks"""
    progress: float
    """Share of the stream before the batch, in [0, 1)"""

    def to(self, device: torch.device, non_blocking: bool = False) -> Part:
        """Return the part on a device."""
        return replace(self, batch=self.batch.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Part:
        """Return the part in pinned memory."""
        return replace(self, batch=self.batch.pin_memory())

    def record_stream(self, stream: torch.cuda.Stream) -> None:
        """Keep its memory until the queued work of ``stream`` is done."""
        self.batch.record_stream(stream)


def training_parts(stream: Stream, ranks: RankGroup, *, start: int) -> Iterator[Part]:
    """Yield a rank's part of every batch from number ``start`` on."""
    pinned = ranks.device.type == "cuda"
    batches = stream.batches(start, rank=ranks.rank, ranks=ranks.count)
    for number, batch in enumerate(batches, start):
        size = stream.examples_of(number)
        made = _part(batch, size, ranks, progress=number / stream.batch_count)
        yield made.pin_memory() if pinned else made


def evaluation_parts(
    batches: Batches, rows: np.ndarray, batch_size: int, ranks: RankGroup
) -> Iterator[Part]:
    """Yield a rank's part of batches in which every replica has the same ``rows``."""
    for first in range(0, len(rows), batch_size):
        chunk = rows[first : first + batch_size]
        begin, end = part(0, len(chunk), ranks.rank, ranks.count)
        batch = batches.of_same_rows(chunk[begin:end])
        yield _part(batch, len(chunk), ranks, progress=1.0)


def _part(batch: Batch, batch_examples: int, ranks: RankGroup, *, progress: float) -> Part:
    length = -(-batch_examples // ranks.count)
    return Part(
        batch=batch if batch.examples == length else filled(batch, length),
        examples=batch.examples,
        batch_examples=batch_examples,
        progress=progress,
    )


def filled(batch: Batch, length: int) -> Batch:
    """Return a batch padded with examples of zeros and empty bags."""
    missing = length - batch.examples
    sparse = batch.sparse
    keys = sparse.keys()
    lengths = pad(sparse.lengths().view(len(keys), batch.examples), (0, missing))
    return Batch(
        labels=pad(batch.labels, (0, missing)),
        dense=pad(batch.dense, (0, 0, 0, missing)),
        sparse=KeyedJaggedTensor(
            keys=keys,
            values=sparse.values(),
            lengths=lengths.flatten(),
            stride=length,
            length_per_key=sparse.length_per_key(),
            offset_per_key=sparse.offset_per_key(),
        ),
    )


_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, kw_only=True, slots=True)
class StepOutput:
    """The outputs for a rank's part of a batch, before its update."""

    served: Tensor
    """Logits that would be served, ``(R, examples)``; nothing in a phase without them"""
    served_losses: Tensor
    """Their log losses, summed over examples, ``(R,)``"""
    losses: Tensor
    """Share of each replica's training loss, ``(R,)``: its sum over ranks is the batch's"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """The output columns of one table for one feature."""

    name: str
    """TorchRec's"""
    width: int
    averages: str | None
    """The feature by the length of whose bags they are still to be divided"""


class Step(nn.Module):
    """Tables and towers in the form that TorchRec shards and pipelines: a part in, a loss out."""

    def __init__(self, embeddings: nn.Module, head: Head) -> None:
        super().__init__()
        self.embeddings = embeddings
        self.head = head

    def forward(self, part: Part) -> tuple[Tensor, StepOutput]:
        """Return the loss to backpropagate, a scalar, and the outputs."""
        return self.head(part, self.embeddings(part.batch.sparse))


class Head(nn.Module):
    """Towers and objective.

    Gradients are averaged over ranks (by DDP, and by TorchRec for the tables), so a rank's loss is
    its share of the batch's multiplied by the number of ranks.

    Args:
        towers: over the output columns of the tables.
        arm: whose objective it is.
        phase: its name for the objective.
        runs: the columns that the towers expect, in order.
        engine: precision and compilation.
        ranks: the ranks that share a batch.
        loss_scale: for float16 gradients; removed when gradients are float32 again, before the
            tables and before the optimizer (``unscale``).
    """

    def __init__(
        self,
        towers: Towers,
        arm: ArmConfig,
        phase: str,
        runs: Sequence[Run],
        engine: SyncEngine,
        ranks: RankGroup,
        loss_scale: float,
    ) -> None:
        super().__init__()
        self.towers = towers
        self._arm = arm
        self._phase = phase
        self._runs = tuple(runs)
        self._starts: dict[str, int] = {}
        self._ranks = ranks
        self._dtype = _DTYPES[engine.precision]
        self._loss_scale = loss_scale if self._dtype is torch.float16 else 1.0
        self._over_columns: Callable[[Tensor, Tensor], Logits] = towers.over_columns
        if engine.compile:
            self._over_columns = torch.compile(towers.over_columns)

    def forward(self, part: Part, embedded: KeyedTensor) -> tuple[Tensor, StepOutput]:
        filled = self._logits(part, embedded)
        served, served_losses = self._served(*_examples_of(part, filled))
        losses = torch.zeros_like(served_losses)
        if self.training:
            losses = self._shares(part, filled)
        loss = losses.sum() * (self._ranks.count * self._loss_scale)
        if self._arm.couples_examples:
            losses = losses / self._ranks.count  # each rank has the loss of the whole batch
        return loss, StepOutput(served=served, served_losses=served_losses, losses=losses.detach())

    @torch.no_grad()
    def _served(self, logits: Logits, labels: Tensor) -> tuple[Tensor, Tensor]:
        if self._arm.served.group not in logits:
            return labels.new_zeros(len(labels), 0), labels.new_zeros(len(labels))
        served = self._arm.served_logits(logits)
        return served, binary_cross_entropy_with_logits(served, labels, reduction="none").sum(1)

    def unscale(self) -> None:
        """Remove the loss scale from the towers' gradients."""
        if self._loss_scale != 1:
            grads = [each.grad for each in self.towers.parameters() if each.grad is not None]
            torch._foreach_div_(grads, self._loss_scale)

    def _logits(self, part: Part, embedded: KeyedTensor) -> Logits:
        if not self._starts:
            self._arrange(embedded)
        columns = self._averaged(part, embedded.values())
        if self._loss_scale != 1 and columns.requires_grad:
            columns = columns.view_as(columns)
            columns.register_hook(lambda gradient: gradient / self._loss_scale)
        half = self._dtype is not torch.float32
        with torch.autocast(columns.device.type, self._dtype, enabled=half):
            logits = self._over_columns(part.batch.dense, columns)
        return {name: each.float() for name, each in logits.items()}

    def _arrange(self, embedded: KeyedTensor) -> None:
        """Adapt the towers to the column order of the ranks' output."""
        first = 0
        for name, width in zip(embedded.keys(), embedded.length_per_key(), strict=True):
            self._starts[name] = first
            first += width
        places = [
            self._starts[run.name] + column for run in self._runs for column in range(run.width)
        ]
        for each in self.towers.columns.values():
            cast(Columns, each).rearranged(places, embedded.values().device)

    def _averaged(self, part: Part, columns: Tensor) -> Tensor:
        """Divide sums for mean pooling; the sum over an empty bag stays 0."""
        if not any(run.averages for run in self._runs):
            return columns
        sparse = part.batch.sparse
        places = {key: place for place, key in enumerate(sparse.keys())}
        lengths = sparse.lengths().view(len(places), -1).clamp(min=1)
        divisors = columns.new_ones(columns.shape)
        for run in self._runs:
            if run.averages is not None:
                into = divisors.narrow(1, self._starts[run.name], run.width)
                into.copy_(lengths[places[run.averages]].unsqueeze(1))
        return columns / divisors

    def _shares(self, part: Part, filled: Logits) -> Tensor:
        if self._arm.couples_examples:
            return self._losses(part, *self._of_all_ranks(part, *_examples_of(part, filled)))
        if not part.examples:
            # Nothing of what fills it up: to DDP the graphs of all ranks and batches are one.
            return self._losses(part, filled, part.batch.labels) * 0
        losses = self._losses(part, *_examples_of(part, filled))
        return losses * (part.examples / part.batch_examples)

    def _losses(self, part: Part, logits: Logits, labels: Tensor) -> Tensor:
        return self._arm.objective(logits, labels, phase=self._phase, progress=part.progress)

    def _of_all_ranks(self, part: Part, logits: Logits, labels: Tensor) -> tuple[Logits, Tensor]:
        """Return logits and labels of the whole batch; gradients flow to this rank's only."""
        return (
            {name: self._gathered(part, each, 2) for name, each in logits.items()},
            self._gathered(part, labels, 1),
        )

    def _gathered(self, part: Part, mine: Tensor, dim: int) -> Tensor:
        length = -(-part.batch_examples // self._ranks.count)
        sent = mine.new_zeros([*mine.shape[:dim], length, *mine.shape[dim + 1 :]])
        sent.narrow(dim, 0, part.examples).copy_(mine.detach())
        received = [torch.empty_like(sent) for _ in range(self._ranks.count)]
        dist.all_gather(received, sent)
        pieces = []
        for rank, one in enumerate(received):
            begin, end = part_of(0, part.batch_examples, rank, self._ranks.count)
            pieces.append(one.narrow(dim, 0, end - begin))
        pieces[self._ranks.rank] = mine
        return torch.cat(pieces, dim)


def _examples_of(part: Part, filled: Logits) -> tuple[Logits, Tensor]:
    """Return logits and labels without padding."""
    logits = {name: each[:, :, : part.examples] for name, each in filled.items()}
    return logits, part.batch.labels[:, : part.examples]
