"""Parameters as arrays, and how they are dealt to S shards.

Row k of a slab lives on shard ``k mod S``, at ``k div S``: the remainder is the hash, so that the
frequent rows at a table's head are dealt evenly. The dense vector is cut into S even pieces.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

# What Ray brings is read-only, and PyTorch warns of it; it is only ever read here.
warnings.filterwarnings("ignore", message="The given NumPy array is not writable")


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameters:
    """Records of some rows of each slab, and a dense part: pulled values, or changes to push."""

    slabs: tuple[Floats, ...]
    """float32 ``(rows, width + state)`` each"""
    dense: Floats
    """float32 ``(dense parts, elements)``: weights, then accumulators"""

    @property
    def bytes(self) -> int:
        return self.dense.nbytes + sum(slab.nbytes for slab in self.slabs)


def part_of(whole: Parameters, shard: int, shards: int) -> Parameters:
    """Return a copy of what one of S shards holds of a replica's parameters."""
    first, last = dense_span(whole.dense.shape[1], shard, shards)
    return Parameters(
        slabs=tuple(slab[shard::shards].copy() for slab in whole.slabs),
        dense=whole.dense[:, first:last].copy(),
    )


def join(parts: Sequence[Parameters]) -> Parameters:
    """Return a replica's parameters from those of all its shards, in order."""
    slabs = []
    for pieces in zip(*(part.slabs for part in parts), strict=True):
        whole = np.empty((sum(len(piece) for piece in pieces), pieces[0].shape[1]), np.float32)
        for shard, piece in enumerate(pieces):
            whole[shard :: len(parts)] = piece
        slabs.append(whole)
    return Parameters(
        slabs=tuple(slabs), dense=np.concatenate([part.dense for part in parts], axis=1)
    )


def dense_span(elements: int, shard: int, shards: int) -> tuple[int, int]:
    """Return which elements of the dense vector a shard holds."""
    return elements * shard // shards, elements * (shard + 1) // shards


def digest(array: npt.NDArray[np.generic]) -> str:
    """Return the SHA-256 of an array's shape, type and bytes."""
    described = f"{array.dtype.str}{array.shape}".encode()
    return hashlib.sha256(described + np.ascontiguousarray(array).tobytes()).hexdigest()


def rows_by_shard(rows: Rows, shards: int) -> list[Rows]:
    """Return the positions in ``rows`` (numbers within a slab) of what each shard holds."""
    if shards == 1:
        return [np.arange(len(rows))]
    of = rows % shards
    return [np.flatnonzero(of == shard) for shard in range(shards)]


def tensor_of(array: npt.NDArray[Any]) -> torch.Tensor:
    """Return a tensor on the array's memory."""
    return torch.from_numpy(array)
