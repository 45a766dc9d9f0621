"""The training stream: every batch is determined by (seed, shuffle width, position)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

import numpy as np
import torch
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

from recsys.config import StreamConfig
from recsys.data.batch import Batch
from recsys.data.click_log import ClickLog
from recsys.data.rows import Rows
from recsys.data.shuffle import order
from recsys.embeddings import feature_key
from recsys.seeds import Seeds, derive, generator

_CHUNK_EXAMPLES = 1 << 15
"""Examples ordered and gathered at once: amortises the sort of the window over many batches."""


class Stream:
    """The batches of R replicas over one split, each replica with its own shuffle.

    Epochs are contiguous: a batch may contain the end of one and the start of the next, and only
    the last batch may be short. Each epoch has its own shuffle.
    """

    def __init__(
        self, log: ClickLog, split: str, config: StreamConfig, seeds: Sequence[Seeds]
    ) -> None:
        self._batches = Batches(log, len(seeds))
        self._rows = log.splits[split]
        self._config = config
        self._seeds = tuple(seeds)
        self.examples = len(self._rows) * config.epochs
        self.batch_count = -(-self.examples // config.batch_size)

    def examples_of(self, number: int) -> int:
        """Return the number of examples of a batch, for each replica."""
        size = self._config.batch_size
        return min(size, self.examples - number * size)

    def rows(self, replica: int, start: int, stop: int) -> np.ndarray:
        """Return the stored rows at stream positions ``start`` to ``stop``: int64."""
        length, seeds = len(self._rows), self._seeds[replica]
        pieces = []
        for epoch in range(start // length, -(-stop // length)):
            first = epoch * length
            pieces.append(
                order(
                    length,
                    max(start - first, 0),
                    min(stop - first, length),
                    width=self._config.shuffle,
                    seed=derive(seeds.shuffle, "shuffle", epoch),
                )
            )
        found = np.concatenate(pieces) + self._rows.start
        if seeds.arithmetic:
            found = self._permuted_within_batches(found, start, seeds.arithmetic)
        return found

    def batches(
        self, start: int = 0, stop: int | None = None, *, rank: int = 0, ranks: int = 1
    ) -> Iterator[Batch]:
        """Yield the batches with numbers ``start`` to ``stop``, or one rank's part of each."""
        stop = self.batch_count if stop is None else stop
        size = self._config.batch_size
        step = max(_CHUNK_EXAMPLES // size, 1)
        for first in range(start, stop, step):
            positions = range(first * size, min((first + step) * size, stop * size, self.examples))
            rows = np.stack(
                [self.rows(r, positions.start, positions.stop) for r in range(len(self._seeds))]
            )
            whole = [(n, min(n + size, len(positions))) for n in range(0, len(positions), size)]
            parts = [part(begin, end, rank, ranks) for begin, end in whole]
            mine = np.concatenate([np.arange(*each) for each in parts])
            yield from self._batches.of_rows(rows[:, mine], [end - begin for begin, end in parts])

    def _permuted_within_batches(self, rows: np.ndarray, start: int, seed: int) -> np.ndarray:
        size = self._config.batch_size
        if start % size:
            raise ValueError(f"start {start} is inside a batch of {size}")
        permuted = rows.copy()
        for first in range(0, len(rows), size):
            number = (start + first) // size
            generator(seed, "arithmetic", number).shuffle(permuted[first : first + size])
        return permuted


def part(begin: int, end: int, rank: int, ranks: int) -> tuple[int, int]:
    """Return the part of positions ``begin`` to ``end`` that is one rank's.

    All parts have one length, but for the last ones, which may be shorter or empty.

    >>> [part(0, 10, rank, 4) for rank in range(4)]
    [(0, 3), (3, 6), (6, 9), (9, 10)]
    """
    length = -(-(end - begin) // ranks)
    return min(begin + rank * length, end), min(begin + (rank + 1) * length, end)


class Batches:
    """Makes batches of R replicas from stored rows."""

    def __init__(self, log: ClickLog, replicas: int) -> None:
        self._log = log
        self._replicas = replicas
        self._keys = [
            feature_key(replica, feature.name)
            for replica in range(replicas)
            for feature in log.schema.sparse
        ]

    def same_rows(self, rows: np.ndarray, batch_size: int) -> Iterator[Batch]:
        """Yield batches in which every replica has the same ``rows`` (evaluation)."""
        for first in range(0, len(rows), batch_size):
            yield self.of_same_rows(rows[first : first + batch_size])

    def of_same_rows(self, rows: np.ndarray) -> Batch:
        """Return one batch in which every replica has the same ``rows``."""
        return self._batch([self._log.rows.take(rows)] * self._replicas, 0, len(rows))

    def of_rows(self, rows: np.ndarray, sizes: Sequence[int]) -> Iterator[Batch]:
        """Cut ``rows``, int64 ``(R, number of examples)``, into batches of these sizes."""
        gathered = [self._log.rows.take(one) for one in rows]
        stops = accumulate(sizes)
        for size, stop in zip(sizes, stops, strict=True):
            yield self._batch(gathered, stop - size, stop)

    def _batch(self, gathered: Sequence[Rows], start: int, stop: int) -> Batch:
        values: list[np.ndarray] = []
        lengths: list[np.ndarray] = []
        ones = np.ones(stop - start, np.int32)
        for one in gathered:
            column = 0
            for feature in self._log.schema.sparse:
                if feature.multi_valued:
                    bag = one.bags[feature.name]
                    offsets = bag.offsets[start : stop + 1]
                    values.append(bag.values[offsets[0] : offsets[-1]])
                    lengths.append(np.diff(offsets).astype(np.int32))
                else:
                    values.append(one.ids[start:stop, column])
                    lengths.append(ones)
                    column += 1
        length_per_key = [len(piece) for piece in values]
        return Batch(
            labels=torch.from_numpy(np.stack([one.label[start:stop] for one in gathered])),
            dense=torch.from_numpy(np.stack([one.dense[start:stop] for one in gathered])),
            sparse=KeyedJaggedTensor(
                keys=self._keys,
                values=torch.from_numpy(np.concatenate(values)),
                lengths=torch.from_numpy(np.concatenate(lengths)),
                stride=stop - start,
                # Known here: TorchRec would have to wait for the device to tell.
                length_per_key=length_per_key,
                offset_per_key=np.concatenate(([0], np.cumsum(length_per_key))).tolist(),
            ),
        )
