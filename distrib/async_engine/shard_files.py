"""A shard's part of a snapshot: one file.

Apart from the rest, so that a shard's process need not load TorchRec, which would take it seconds
whenever it starts anew.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import astuple
from typing import Any

import numpy as np

from distrib.folder import Folder
from distrib.store.parameters import Parameters
from distrib.store.shard import Served, ShardState, Version


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
