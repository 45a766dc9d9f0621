"""Snapshots of all shards with the ledger, on any file system that pyarrow can write.

A snapshot is a folder ``<phase>-<windows applied>``: a file for each shard, ``progress.pickle``
(what the driver knows), and, last, ``manifest.json``, without which the folder is not a snapshot.
Shards write their files themselves. Snapshots are as trusted as the code: only load your own.
"""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from pyarrow import fs

from distrib.store.parameters import Parameters
from distrib.store.shard import Served, ShardState, Version
from recsys.errors import DataError

FORMAT = 1
_MANIFEST = "manifest.json"
_PROGRESS = "progress.pickle"
_KEPT = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What a snapshot is of."""

    format: int
    trial: str
    """Digest of the trial, and with it of code and data"""
    run: str
    """Who wrote it"""
    phase: int
    windows: int
    """Exactly the windows with lower numbers are applied, on every shard"""
    leases: int
    shards: int


def place(root: str, trial: str) -> str:
    """Return where the snapshots of a trial lie."""
    return f"{root.rstrip('/')}/{trial}"


def snapshot_name(phase: int, windows: int) -> str:
    """Return the name of a snapshot; names sort as training goes."""
    return f"{phase}-{windows:012d}"


def write_shard(root: str, name: str, shard: int, state: ShardState) -> None:
    """Write one shard's file."""
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
    _write(root, f"{name}/shard-{shard}.npz", held.getbuffer())


def read_shard(root: str, name: str, shard: int) -> ShardState:
    """Read one shard's file.

    Raises:
        DataError: it is not whole.
    """
    try:
        with np.load(io.BytesIO(_read(root, f"{name}/shard-{shard}.npz"))) as found:
            slabs = sum(key.startswith("slab") for key in found.files)
            return ShardState(
                parameters=Parameters(
                    slabs=tuple(found[f"slab{i}"] for i in range(slabs)), dense=found["dense"]
                ),
                version=Version(
                    updates=int(found["version"][0]), examples=int(found["version"][1])
                ),
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
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise DataError(f"{root}/{name}/shard-{shard}.npz: not a whole shard ({error})") from None


def finish(root: str, manifest: Manifest, progress: Any) -> None:
    """Make the files of all shards a snapshot, and drop those that are older than the last two.

    Raises:
        DataError: another run writes to the same place.
    """
    newest = newest_manifest(root)
    if newest is not None and newest.run != manifest.run and _follows(newest, manifest):
        raise DataError(
            f"{root}: found a newer snapshot of run {newest.run} than those of this run, "
            f"{manifest.run}; expected one run in one place"
        )
    name = snapshot_name(manifest.phase, manifest.windows)
    _write(root, f"{name}/{_PROGRESS}", pickle.dumps(progress))
    _write(root, f"{name}/{_MANIFEST}", json.dumps(asdict(manifest), indent=2).encode())
    for old in _names(root)[:-_KEPT]:
        system, path = _system(root)
        system.delete_dir(f"{path}/{old}")


def newest_manifest(root: str) -> Manifest | None:
    """Return the newest whole snapshot's manifest, None where there is none.

    Raises:
        DataError: it was written by another version of this format.
    """
    for name in reversed(_names(root)):
        try:
            found = json.loads(_read(root, f"{name}/{_MANIFEST}"))
        except FileNotFoundError:
            continue  # its writer died before the end
        if found.get("format") != FORMAT:
            raise DataError(
                f"{root}/{name}: found snapshot format {found.get('format')!r}, expected {FORMAT}"
            )
        return Manifest(**found)
    return None


def read_progress(root: str, manifest: Manifest) -> Any:
    """Return what the driver wrote with a snapshot."""
    name = snapshot_name(manifest.phase, manifest.windows)
    return pickle.loads(_read(root, f"{name}/{_PROGRESS}"))


def read_shards(root: str, manifest: Manifest) -> Sequence[ShardState]:
    """Return all shards of a snapshot."""
    name = snapshot_name(manifest.phase, manifest.windows)
    return [read_shard(root, name, shard) for shard in range(manifest.shards)]


def _follows(one: Manifest, other: Manifest) -> bool:
    return (one.phase, one.windows) >= (other.phase, other.windows)


def _names(root: str) -> list[str]:
    system, path = _system(root)
    found = system.get_file_info(fs.FileSelector(path, allow_not_found=True))
    return sorted(each.base_name for each in found if each.type == fs.FileType.Directory)


def _write(root: str, name: str, content: Any) -> None:
    system, path = _system(root)
    whole = f"{path}/{name}"
    system.create_dir(whole.rsplit("/", 1)[0], recursive=True)
    with system.open_output_stream(whole) as stream:
        stream.write(content)


def _read(root: str, name: str) -> bytes:
    system, path = _system(root)
    with system.open_input_stream(f"{path}/{name}") as stream:
        return stream.read()


def _system(root: str) -> tuple[fs.FileSystem, str]:
    if "://" in root:
        return fs.FileSystem.from_uri(root)
    return fs.LocalFileSystem(), str(Path(root).absolute())
