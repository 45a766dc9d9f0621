"""Snapshots of all shards with the ledger, on any file system of pyarrow.

All snapshots of a trial are in one folder, named by configuration, seeds and data. A snapshot is a
subfolder ``<phase>-<windows applied>-<run>``, so two runs never write the same file. It has one
file for each shard, ``progress.json`` (the driver's state) and, written last, ``manifest.json``
with the digests of the others, which makes it valid. Shards write their own files. No file is a
pickle.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any
from zipfile import BadZipFile

from distrib.parameter_store.ownership import Ownership
from distrib.parameter_store.shard import ShardState, digest_of, file_name, shard_state
from distrib.trials.folder import Folder
from distrib.trials.json_values import from_json
from distrib.trials.trial import Trial, code_digest, library_versions
from recsys.errors import ConfigError, DataError
from recsys.files import expecting, parse_json

FORMAT = 4
_MANIFEST = "manifest.json"
_PROGRESS = "progress.json"
_KEPT = 2
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """The manifest of a snapshot."""

    format: int
    made_by: dict[str, str]
    """Versions of the code and of the libraries that decide a result"""
    run: str
    """Who wrote it"""
    phase: int
    windows: int
    """Exactly the windows with lower numbers are applied, on every shard"""
    leases: int
    shards: Sequence[str]
    """SHA-256 of each shard's file"""
    progress: str
    """SHA-256 of that file"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """A complete snapshot."""

    manifest: Manifest
    shards: tuple[ShardState, ...]
    progress: Any
    """A JSON value"""


class SnapshotStore:
    """The snapshots of one trial, written by one run.

    Args:
        root: the folder of all trials.
        name: the trial's folder in it.
        run: the writing run.
        made_by: versions of code and libraries.
    """

    def __init__(self, root: str, name: str, run: str, made_by: Mapping[str, str]) -> None:
        self.root = root
        self.ownership = Ownership(Folder(root, name), run)
        self.passed_over: list[str] = []
        """Snapshots that were not whole, with the reason"""
        self._not_whole: set[str] = set()
        """Names of snapshots that were found so"""
        self._name = name
        self._run = run
        self._made_by = dict(made_by)
        self._folder = Folder(root, name)

    def __str__(self) -> str:
        return str(self._folder)

    def newest(self) -> Snapshot | None:
        """Return the newest complete snapshot, or None.

        A damaged one is skipped with a warning.

        Raises:
            DataError: it was made by another version of the code, a library or this format; or the
                file system fails, which says nothing about the snapshots.
        """
        try:
            names = self._folder.folders()
            found = (self._whole(name) for name in reversed(names))
            return next((each for each in found if each is not None), None)
        except OSError as error:
            raise DataError(
                f"{self}: cannot be read ({_first_line(error)}); expected a file system "
                "that answers: start again once it does"
            ) from None

    def _whole(self, name: str) -> Snapshot | None:
        """Return a snapshot, None if it is incomplete."""
        try:
            return self._read(name, self._manifest(name))
        except _Unfinished:
            pass
        except _Damaged as error:
            what = f"{self}/{name}: passed over, since it is not whole: {error}"
            if what not in self.passed_over:
                self.passed_over.append(what)
                _log.warning(what)
        self._not_whole.add(name)
        return None

    def begin(self, phase: int, windows: int) -> str:
        """Start a snapshot, and return its name below ``root`` for the shards.

        Raises:
            DataError: another run took the folder over.
        """
        self.ownership.check()
        name = snapshot_name(phase, windows, self._run)
        self._folder.delete(name)  # a part of it may lie there
        self._not_whole.discard(name)
        return f"{self._name}/{name}"

    def finish(
        self, phase: int, windows: int, *, leases: int, shards: Sequence[str], progress: Any
    ) -> None:
        """Complete a snapshot; keep it and the last two complete ones.

        ``shards`` are the digests returned by ``write_shard``, in order.

        Raises:
            DataError: another run took the folder over.
        """
        self.ownership.check()
        name = snapshot_name(phase, windows, self._run)
        content = json.dumps(progress).encode()
        self._folder.write(f"{name}/{_PROGRESS}", content)
        manifest = Manifest(
            format=FORMAT,
            made_by=self._made_by,
            run=self._run,
            phase=phase,
            windows=windows,
            leases=leases,
            shards=shards,
            progress=digest_of(content),
        )
        self._folder.write(f"{name}/{_MANIFEST}", json.dumps(asdict(manifest), indent=2).encode())
        found = self._folder.folders()
        whole = [each for each in found if each not in self._not_whole]
        for old in sorted({*found} - {name, *whole[-_KEPT:]}):
            self._folder.delete(old)

    def _manifest(self, name: str) -> Manifest:
        try:
            content = self._folder.read(f"{name}/{_MANIFEST}")
        except FileNotFoundError:
            raise _Unfinished from None
        with _damaged(), expecting("a manifest", _MANIFEST):
            found = parse_json(content, _MANIFEST)
            made_in = found["format"]
        if made_in != FORMAT:
            raise DataError(
                f"{self}/{name}: found snapshot format {made_in!r}, expected {FORMAT}; {_WAY_OUT}"
            )
        with _damaged(), expecting("a manifest", _MANIFEST):
            manifest = from_json(Manifest, found)
        self._refuse_another_version(name, manifest)
        return manifest

    def _refuse_another_version(self, name: str, manifest: Manifest) -> None:
        made_by, here = manifest.made_by, self._made_by
        keys = made_by.keys() | here
        different = sorted(key for key in keys if made_by.get(key) != here.get(key))
        if different:
            found = ", ".join(f"{key} {made_by.get(key)}" for key in different)
            expected = ", ".join(f"{key} {here.get(key)}" for key in different)
            raise DataError(
                f"{self}/{name}: found a snapshot made by {found}, expected {expected}, which "
                f"would train something else; {_WAY_OUT}"
            )

    def _read(self, name: str, manifest: Manifest) -> Snapshot:
        shards = []
        for shard, digest in enumerate(manifest.shards):
            file = file_name(shard)
            content = self._read_file(name, file, digest)
            with _damaged(), expecting("a shard", file, BadZipFile, EOFError):
                shards.append(shard_state(content))
        with _damaged():
            progress = parse_json(self._read_file(name, _PROGRESS, manifest.progress), _PROGRESS)
        return Snapshot(manifest=manifest, shards=tuple(shards), progress=progress)

    def _read_file(self, name: str, file: str, digest: str) -> bytes:
        try:
            content = self._folder.read(f"{name}/{file}")
        except FileNotFoundError:
            raise _Damaged(f"{file} (missing)") from None
        if digest_of(content) != digest:
            raise _Damaged(f"{file} (not what was written)")
        return content


class _Unfinished(Exception):
    """The writer of a snapshot crashed."""


class _Damaged(Exception):
    """A snapshot was modified or damaged."""


@contextmanager
def _damaged() -> Iterator[None]:
    try:
        yield
    except DataError as error:
        raise _Damaged(str(error)) from None


_WAY_OUT = "delete it, name another place in engine.snapshots, or go on with what made it"


@contextmanager
def claimed(root: str | None, trial: Trial, run: str) -> Iterator[SnapshotStore | None]:
    """Claim the folder of a trial's snapshots inside the block; None without a root.

    Raises:
        ConfigError: it cannot be reached or written.
        DataError: another run owns it.
    """
    if root is None:
        yield None
        return
    made_by = {"code": code_digest(trial.recipe.model), **library_versions()}
    try:
        place = SnapshotStore(root, place_name(trial), run, made_by)
        place.ownership.claim()
    except (OSError, ValueError) as error:  # pyarrow's are these
        raise ConfigError(f"engine.snapshots: {error}; expected a place to write to") from None
    try:
        yield place
    finally:
        try:
            place.ownership.release()
        except (OSError, ValueError, DataError) as error:
            # What was trained is worth more; the next run finds that this one has ended.
            _log.warning("%s: not let go: %s", place, error)


def place_name(trial: Trial) -> str:
    """Return the folder name for what is trained, independent of the code's version."""
    return digest_of(json.dumps(trial.as_dict(), sort_keys=True).encode())[:16]


def snapshot_name(phase: int, windows: int, run: str) -> str:
    """Return the name of a run's snapshot; names sort by progress."""
    return f"{phase}-{windows:012d}-{run}"


def _first_line(error: OSError) -> str:
    return str(error).partition("\n")[0]
