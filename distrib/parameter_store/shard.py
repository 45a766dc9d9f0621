"""A shard of the parameter store: rows and a part of the dense vector; and its Ray actor."""

from __future__ import annotations

import hashlib
import io
import os
import time
import warnings
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from distrib.engines.asynchronous.leases import Staleness
from distrib.engines.asynchronous.messages import PushReply
from distrib.trials.folder import Folder

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

# What Ray brings is read-only, and PyTorch warns of it; it is only ever read here.
warnings.filterwarnings("ignore", message="The given NumPy array is not writable")


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameters:
    """Records of some rows of each slab, and a dense part: pulled values, or deltas to push."""

    slabs: tuple[Floats, ...]
    """float32 ``(rows, width + state)`` each"""
    dense: Floats
    """float32 ``(dense parts, elements)``: weights, then accumulators"""

    @property
    def bytes(self) -> int:
        return self.dense.nbytes + sum(slab.nbytes for slab in self.slabs)


def part_of(whole: Parameters, shard: int, shards: int) -> Parameters:
    """Return a copy of one shard's part of a replica's parameters."""
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
    """Return the range of the dense vector that a shard has."""
    return elements * shard // shards, elements * (shard + 1) // shards


def digest(array: npt.NDArray[np.generic]) -> str:
    """Return the SHA-256 of an array's shape, type and bytes."""
    described = f"{array.dtype.str}{array.shape}".encode()
    return hashlib.sha256(described + np.ascontiguousarray(array).tobytes()).hexdigest()


def rows_by_shard(rows: Rows, shards: int) -> list[Rows]:
    """Return the positions in ``rows`` (numbers within a slab) of each shard's rows."""
    if shards == 1:
        return [np.arange(len(rows))]
    of = rows % shards
    return [np.flatnonzero(of == shard) for shard in range(shards)]


def tensor_of(array: npt.NDArray[Any]) -> torch.Tensor:
    """Return a tensor that shares the array's memory."""
    return torch.from_numpy(array)


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """The number of windows that a shard has applied."""

    updates: int
    """Windows"""
    examples: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Pulled:
    """The reply to a pull."""

    parameters: Parameters
    version: Version


@dataclass(frozen=True, kw_only=True, slots=True)
class Push:
    """The window and lease of a delta, and the version it was computed from.

    ``carried`` is the (window, lease) of the worker's own previous delta, if it added that to the
    pull; it does not count as staleness.
    """

    window: int
    lease: int
    examples: int
    since: Version
    carried: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """One entry of a shard's order log."""

    lease: int
    window: int
    is_push: bool
    applied: bool
    carried: int = -1
    """Of a push: the lease whose change had been added to what was pulled; -1: none"""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardState:
    """The complete state of a shard, as in a snapshot."""

    parameters: Parameters
    version: Version
    applied: dict[int, tuple[int, int]]
    """Window: (lease, examples)"""
    order: tuple[Served, ...] = ()


class Shard:
    """Serves rows and applies each window's delta once.

    Args:
        state: the initial state; the shard takes over its arrays.
        record: whether to keep the order log.
    """

    def __init__(self, state: ShardState, *, record: bool = False) -> None:
        parameters = state.parameters
        self._slabs = [np.ascontiguousarray(slab) for slab in parameters.slabs]
        # Adding to rows: an order of magnitude faster in PyTorch than numpy's fancy +=.
        self._as_tensors = [tensor_of(slab) for slab in self._slabs]
        self._dense = parameters.dense
        self._version = state.version
        self._applied = dict(state.applied)
        self._record = record
        self._order = list(state.order)

    @property
    def version(self) -> Version:
        return self._version

    @property
    def windows(self) -> frozenset[int]:
        """The windows applied."""
        return frozenset(self._applied)

    def pull(self, rows: Sequence[Rows], *, window: int = -1, lease: int = -1) -> Pulled:
        """Return copies of the records at ``rows`` of each slab (numbers within this shard)."""
        if self._record:
            self._order.append(Served(lease=lease, window=window, is_push=False, applied=False))
        return Pulled(
            parameters=Parameters(
                slabs=tuple(np.take(s, r, axis=0) for s, r in zip(self._slabs, rows, strict=True)),
                dense=self._dense.copy(),
            ),
            version=self._version,
        )

    def push(self, push: Push, rows: Sequence[Rows], change: Parameters) -> Staleness | None:
        """Add a window's delta once; None if it was applied before.

        ``rows`` of a slab are distinct. The reply has the updates of others since the pull.
        """
        is_new = push.window not in self._applied
        if self._record:
            carried = -1 if push.carried is None else push.carried[1]
            self._order.append(
                Served(
                    lease=push.lease,
                    window=push.window,
                    is_push=True,
                    applied=is_new,
                    carried=carried,
                )
            )
        if not is_new:
            return None
        for slab, at, by in zip(self._as_tensors, rows, change.slabs, strict=True):
            slab.index_add_(0, tensor_of(at), tensor_of(by))
        self._dense += change.dense
        staleness = self._staleness(push)
        self._applied[push.window] = (push.lease, push.examples)
        self._version = Version(
            updates=self._version.updates + 1, examples=self._version.examples + push.examples
        )
        return staleness

    @property
    def order(self) -> tuple[Served, ...]:
        """The order log; empty unless recorded."""
        return tuple(self._order)

    def state(self) -> ShardState:
        """Return the complete state, not copied."""
        return ShardState(
            parameters=self.peek(),
            version=self._version,
            applied=dict(self._applied),
            order=tuple(self._order),
        )

    def peek(self) -> Parameters:
        """Return the parameters, not copied."""
        return Parameters(slabs=tuple(self._slabs), dense=self._dense)

    def _staleness(self, push: Push) -> Staleness:
        updates = self._version.updates - push.since.updates
        examples = self._version.examples - push.since.examples
        if push.carried is not None:
            lease, own = self._applied.get(push.carried[0], (-1, 0))
            if lease == push.carried[1]:
                updates, examples = updates - 1, examples - own
        return Staleness(updates=updates, examples=examples)


def fresh(parameters: Parameters) -> ShardState:
    """Return the state of a shard that has applied nothing."""
    return ShardState(parameters=parameters, version=Version(updates=0, examples=0), applied={})


def write_shard(root: str, name: str, shard: int, state: ShardState) -> str:
    """Write one shard's file; ``name`` is the result of ``SnapshotStore.begin``.

    Returns:
        the SHA-256 of the file.
    """
    arrays: dict[str, Any] = {f"slab{i}": slab for i, slab in enumerate(state.parameters.slabs)}
    held = io.BytesIO()
    np.savez(
        held,
        dense=state.parameters.dense,
        version=np.array(astuple(state.version), np.int64),
        applied=np.array([(window, *by) for window, by in state.applied.items()], np.int64).reshape(
            -1, 3
        ),
        order=np.array([astuple(served) for served in state.order], np.int64).reshape(-1, 5),
        **arrays,
    )
    content = held.getbuffer()
    Folder(root, name).write(file_name(shard), content)
    return digest_of(content)


def shard_state(content: bytes) -> ShardState:
    """Return the state in a file of ``write_shard``."""
    with np.load(io.BytesIO(content), allow_pickle=False) as found:
        slabs = sum(key.startswith("slab") for key in found.files)
        return ShardState(
            parameters=Parameters(
                slabs=tuple(found[f"slab{i}"] for i in range(slabs)), dense=found["dense"]
            ),
            version=Version(updates=int(found["version"][0]), examples=int(found["version"][1])),
            applied={int(w): (int(lease), int(n)) for w, lease, n in found["applied"]},
            order=tuple(
                Served(
                    lease=int(lease),
                    window=int(window),
                    is_push=bool(is_push),
                    applied=bool(applied),
                    carried=int(carried),
                )
                for lease, window, is_push, applied, carried in found["order"]
            ),
        )


def file_name(shard: int) -> str:
    """Return the name of a shard's file in a snapshot."""
    return f"shard-{shard}.npz"


def digest_of(content: bytes | memoryview) -> str:
    """Return the SHA-256 of a file's content."""
    return hashlib.sha256(content).hexdigest()


class ShardServer:
    """Serves one shard."""

    def __init__(self, state: ShardState, record: bool) -> None:
        # What comes through Ray is read-only memory of the object store.
        own = Parameters(
            slabs=tuple(slab.copy() for slab in state.parameters.slabs),
            dense=state.parameters.dense.copy(),
        )
        self._shard = Shard(
            ShardState(
                parameters=own, version=state.version, applied=state.applied, order=state.order
            ),
            record=record,
        )
        self._cpu_s = time.process_time()

    def pid(self) -> int:
        return os.getpid()

    def version(self) -> Version:
        return self._shard.version

    def pull(self, rows: Sequence[Rows], window: int, lease: int) -> Pulled:
        return self._shard.pull(rows, window=window, lease=lease)

    def push(self, push: Push, rows: Sequence[Rows], change: Parameters) -> PushReply:
        staleness = self._shard.push(push, rows, change)
        before, self._cpu_s = self._cpu_s, time.process_time()
        return PushReply(staleness=staleness, cpu_s=self._cpu_s - before)

    def parameters(self) -> Parameters:
        return self._shard.peek()

    def order(self) -> tuple[Served, ...]:
        return self._shard.order

    def write(self, root: str, name: str, shard: int) -> str:
        """Write a snapshot of this shard and return its digest; calls wait meanwhile."""
        return write_shard(root, name, shard, self._shard.state())
