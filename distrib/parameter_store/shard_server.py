"""A shard as a Ray actor, and its file in a snapshot. Calls are served in the order of arrival."""

from __future__ import annotations

import hashlib
import io
import os
import time
from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

import numpy as np

from distrib.engines.asynchronous.messages import PushReply
from distrib.parameter_store.parameters import Parameters, Rows
from distrib.parameter_store.shard import Pulled, Push, Served, Shard, ShardState, Version
from distrib.trials.folder import Folder


def write_shard(root: str, name: str, shard: int, state: ShardState) -> str:
    """Write one shard's file; ``name`` is what ``Place.begin`` returned.

    Returns:
        the SHA-256 of what it wrote.
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
    """Return what ``write_shard`` wrote."""
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
    """Return what a shard's file is called in a snapshot."""
    return f"shard-{shard}.npz"


def digest_of(content: bytes | memoryview) -> str:
    """Return the SHA-256 by which a file is known again."""
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
        """Write a snapshot of this shard, return its digest; nothing is served meanwhile."""
        return write_shard(root, name, shard, self._shard.state())
