"""A rank's input: its part of each batch of the deterministic stream."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn.functional import pad
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor
from torchrec.streamable import Pipelineable

from recsys.data.batch import Batch
from recsys.data.stream import Batches, Stream, part


@dataclass(frozen=True, kw_only=True, slots=True)
class RankGroup:
    """``count`` processes that train together, of which this one is number ``rank``."""

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

    Collective operations want parts of one length. The last ranks' parts of a batch that does not
    divide by the ranks are filled up, with examples that read no row and count in no loss.
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
        """Return the part in page-locked memory."""
        return replace(self, batch=self.batch.pin_memory())

    def record_stream(self, stream: torch.cuda.Stream) -> None:
        """Keep its memory until what ``stream`` has to do by now is done."""
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
    """Yield a rank's part of batches in which every replica sees the same ``rows``."""
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
    """Return a batch with examples added at its end that are all zero and have empty bags."""
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
