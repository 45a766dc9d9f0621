"""A run's name and its storage folder: a path that all nodes reach, or a URI."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path

from distrib.engines.synchronous import checkpoints
from distrib.trials.folder import Folder
from distrib.trials.results import RUNS
from distrib.trials.trial import Trial, code_digest, library_versions
from recsys.credentials import without_credentials
from recsys.errors import ConfigError, DataError

_PLACEMENT = {
    "workers",
    "sharding",
    "table_sharding",
    "device",
    "threads",
    "compile",
}
_HOUSEKEEPING = {
    "checkpoint_every",
    "checkpoints_kept",
    "max_failures",
    "tracking",
    "track_every",
}


def run_name(trials: Sequence[Trial]) -> str:
    """Return the name of the run of these trials."""
    if len(trials) == 1:
        return trials[0].digest
    return hashlib.sha256(" ".join(each.digest for each in trials).encode()).hexdigest()[:16]


def training_digest(trials: Sequence[Trial]) -> str:
    """Return a hash of everything that determines the model, without placement and tracking.

    Trainings with equal digests can resume from each other's checkpoints.
    """
    deciding = [each.as_dict() for each in trials]
    for each in deciding:
        for field in _PLACEMENT | _HOUSEKEEPING:
            each["recipe"]["engine"].pop(field)
    whole = {
        "trials": deciding,
        "code": code_digest(trials[0].recipe.model),
        "libraries": library_versions(),
    }
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:16]


def is_uri(place: str) -> bool:
    """Return whether a place is a URI instead of a path."""
    return "://" in place


class Run:
    """The folder ``runs/NAME``, on this machine or at a URI.

    Args:
        place: path or URI.
        name: of the run.
        resume: path or URI of another run's checkpoint, used if this run has none.
        scratch: a local folder for files of a URI.
    """

    def __init__(self, place: str, name: str, resume: str | None, scratch: Path) -> None:
        self.is_far = is_uri(place)
        self.here = scratch / name if self.is_far else Path(place, RUNS, name).absolute()
        self._place, self._within = place, f"{RUNS}/{name}"
        self._resume = resume
        self._resumed = None if resume is None else Path(resume).absolute()
        self._fetched = scratch / f"{name}-begins-with"
        if resume is not None and is_uri(resume):
            self._resumed = self._fetched

    def __str__(self) -> str:
        return f"{without_credentials(self._place)}/{self._within}"

    def newest(self, training: str) -> Path | None:
        """Return the newest complete checkpoint of this run, downloaded, or None.

        Raises:
            DataError: as ``checkpoints.newest``.
        """
        if self.is_far:
            self._bring_manifests()
        return checkpoints.newest(self.here, training, bring=self.bring)

    def newest_or_resumed(self, training: str) -> Path | None:
        """Return the newest complete checkpoint, or the other run's, or None.

        Raises:
            ConfigError: the other run's is missing.
            DataError: as ``checkpoints.newest`` and ``checkpoints.check``.
        """
        found = self.newest(training)
        if found is None and self._resumed is not None:
            found = self._resumed
            self.bring(found)
            self._check_resumed(found, training)
        return found

    def drop_all_but(self, count: int) -> None:
        """Delete all checkpoints but the newest, including incomplete ones of crashed ranks.

        Ray Train deletes only those that all ranks reported.
        """
        if self.is_far:
            self._bring_manifests()
        kept = {each.name for each in checkpoints.newest_first(self.here)[:count]}
        for name in self._folder().folders():
            if fnmatchcase(name, checkpoints.NAMES) and name not in kept:
                self._folder().delete(name)

    def bring(self, checkpoint: Path) -> None:
        """Download all files of a checkpoint."""
        folder = self._remote_folder(checkpoint)
        if folder is not None:
            with suppress(FileNotFoundError):  # it is being deleted, or damaged: that is seen later
                for name in folder.files():
                    folder.download(name, checkpoint)

    def download_file(self, name: str) -> None:
        """Download a file of the run's folder, if it exists."""
        if self.is_far and name in self._folder().files():
            self._folder().download(name, self.here)

    def send(self, *paths: Path) -> None:
        """Upload files of the folder."""
        if self.is_far:
            for path in paths:
                self._folder().write(path.relative_to(self.here).as_posix(), path.read_bytes())

    def clear(self) -> None:
        """Delete local copies of remote files."""
        shutil.rmtree(self._fetched, ignore_errors=True)
        if self.is_far:
            shutil.rmtree(self.here, ignore_errors=True)

    def _check_resumed(self, found: Path, training: str) -> None:
        """Raise if another run's checkpoint cannot be used, naming the ``resume`` field."""
        assert self._resume is not None
        if not found.exists():
            place = without_credentials(self._resume)
            raise ConfigError(f"engine.resume: {place}: not there, expected a checkpoint")
        try:
            checkpoints.check(found, training)
        except DataError as error:
            raise type(error)(f"engine.resume: {error}") from None

    def _bring_manifests(self) -> None:
        names = self._folder().files()
        manifests = {each for each in names if fnmatchcase(each, checkpoints.MANIFESTS)}
        for gone in self.here.glob(checkpoints.NAMES):
            if f"{gone.name}/{checkpoints.manifest_name(0)}" not in manifests:
                shutil.rmtree(gone)
        for each in manifests:
            self._folder().download(each, self.here)

    def _remote_folder(self, checkpoint: Path) -> Folder | None:
        """Return the remote folder of a checkpoint, if any."""
        if checkpoint == self._resumed:
            assert self._resume is not None
            return Folder(self._resume) if is_uri(self._resume) else None
        return self._folder(checkpoint.name) if self.is_far else None

    def _folder(self, name: str = "") -> Folder:
        return Folder(self._place, f"{self._within}/{name}".rstrip("/"))
