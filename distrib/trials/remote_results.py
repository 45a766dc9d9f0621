"""Results at a URI, mirrored in a local directory.

Readers of a sweep read a directory. For results at a URI, existing files are downloaded first and
new ones uploaded. A trial is uploaded file by file, ``DONE`` last, and never changed afterwards.
``DONE`` has the digests of the other files, so a mixture of two uploads of one trial counts as
missing.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from distrib.scheduling.status import ERROR
from distrib.trials.folder import Folder, inside
from distrib.trials.results import DONE, RUNS, trial_directory, write_trial
from distrib.trials.trial import Trial, TrialResult
from recsys.credentials import without_credentials
from recsys.errors import ConfigError, DataError
from recsys.files import parse_json

_TRIALS = "trials"
_PROBE = ".writable"
_AS_FETCHED = (0, 0)
"""The times of access and change of a file that lies at the URI as it is here"""

Wanted = Callable[[str], bool]
"""Tells by a file's name, the last part of its path, whether it is of interest"""


def everything(name: str) -> bool:
    """Select every file."""
    return True


@dataclass(frozen=True, kw_only=True, slots=True)
class Results:
    """The results of a sweep: a directory, which may mirror a URI."""

    directory: Path
    uri: str | None = None

    def __str__(self) -> str:
        """Return a printable place without credentials."""
        return str(self.directory) if self.uri is None else without_credentials(self.uri)

    @property
    def place(self) -> Path | str:
        """The place that all nodes reach: the directory, or the URI."""
        return self.directory if self.uri is None else self.uri

    def write(self, trial: Trial, result: TrialResult, *, keep_weights: bool) -> None:
        """Write a trial; called on the node where it was trained."""
        if self.uri is None:
            write_trial(self.directory, trial, result, keep_weights=keep_weights)
            return
        with tempfile.TemporaryDirectory() as here:
            place = write_trial(Path(here), trial, result, keep_weights=keep_weights)
            _send_trial(Folder(self.uri, f"{_TRIALS}/{trial.digest}"), place, again=keep_weights)

    def receive(self, trial: Trial) -> bool:
        """Download a trial that was trained elsewhere; return whether it is complete."""
        place = trial_directory(self.directory, trial)
        if self.uri is not None:
            return _fetch_trial(Folder(self.uri, f"{_TRIALS}/{trial.digest}"), place)
        # A network's file system remembers what was not there, until it is listed again.
        return place in place.parent.glob("*") and _is_done(place)

    def fetch(self, wanted: Wanted = everything, *, beside: bool = True) -> None:
        """Download finished trials, failures and files beside them.

        Checkpoints are not downloaded. Repeated calls download no finished trial twice, and delete
        local files that no longer exist remotely. Without ``beside``, only the folder of trials is
        listed.

        Raises:
            DataError: a remote name leads out of the directory.
        """
        if self.uri is None:
            return
        folder = Folder(self.uri)
        if beside:
            names = folder.files()
        else:
            names = [f"{_TRIALS}/{each}" for each in Folder(self.uri, _TRIALS).files()]
        finished = {
            name.removesuffix(f"/{DONE}")
            for name in names
            if PurePosixPath(name).match(f"{_TRIALS}/*/{DONE}")
        }
        for place in finished:
            here = inside(self.directory, place)
            if not _is_done(here):
                _fetch_trial(Folder(self.uri, place), here, wanted)
        for name in names:
            place, _, file = name.rpartition("/")
            is_beside = not name.startswith((f"{_TRIALS}/", f"{RUNS}/"))
            if wanted(file) and (is_beside or (file == ERROR and place not in finished)):
                with suppress(FileNotFoundError):  # gone since it was listed
                    _fetch(folder, name, self.directory)
        for path in self.directory.glob("*"):
            if path.is_file() and path.name not in names:
                path.unlink()

    def drop(self, name: str) -> None:
        """Delete a file beside the trials, locally and remotely, if it exists."""
        (self.directory / name).unlink(missing_ok=True)
        if self.uri is not None:
            Folder(self.uri).delete(name)

    def send(self) -> None:
        """Upload local files beside the trials: manifest, report, failures."""
        for path in sorted(self.directory.rglob("*")):
            if path.is_file() and not _is_done(path.parent):
                self.send_file(path)

    def send_file(self, path: Path) -> None:
        """Upload a file of the directory unless it is unchanged."""
        if self.uri is not None and path.stat().st_mtime_ns != _AS_FETCHED[1]:
            name = path.relative_to(self.directory).as_posix()
            Folder(self.uri).write(name, inside(self.directory, name).read_bytes())
            os.utime(path, ns=_AS_FETCHED)


@contextmanager
def results_at(
    place: str | Path, *, writes: bool = True, wanted: Wanted = everything
) -> Iterator[Results]:
    """Provide the results at a path or URI inside the block.

    Wanted files of a URI are downloaded at the start; with ``writes``, files beside trials are
    uploaded at the end.

    Raises:
        ConfigError: the URI has no known file system, or cannot be read or written.
    """
    if "://" not in str(place):
        yield Results(directory=Path(place))
        return
    with tempfile.TemporaryDirectory(prefix="soloist-results-") as here:
        # A folder of its own: what is beside it, such as trials that a search shares, is ours too.
        results = Results(directory=Path(here, "results"), uri=str(place))
        results.directory.mkdir()
        _prepare(results, str(place), writes=writes, wanted=wanted)
        try:
            yield results
        finally:
            if writes:
                results.send()


def _prepare(results: Results, uri: str, *, writes: bool, wanted: Wanted) -> None:
    """Download existing files, after checking that the place is writable."""
    try:
        folder = Folder(uri)
        if writes:
            folder.write(_PROBE, b"")
            folder.delete(_PROBE)
        results.fetch(wanted)
    except (OSError, ValueError) as error:
        first = str(error).splitlines()[0]
        expected = "written" if writes else "read"
        raise ConfigError(
            f"{without_credentials(uri)}: {first}; expected a place that can be {expected}"
        ) from None


def fetch_trial(uri: str, place: Path) -> None:
    """Download the finished trial at a URI to a directory, with all files.

    Raises:
        DataError: there is no complete finished trial.
        OSError, ValueError: the URI cannot be read.
    """
    if not _fetch_trial(Folder(uri), place):
        raise DataError(
            f"{without_credentials(uri)}: not a finished trial ({DONE} is not there, or not all "
            "files that it tells of)"
        )


def _is_done(place: Path) -> bool:
    return (place / DONE).exists()


def _send_trial(folder: Folder, place: Path, *, again: bool) -> None:
    """Upload a trial unless it exists; ``again`` replaces it."""
    there = folder.files()
    if DONE in there and not again and _is_complete(folder):
        return
    for name in sorted(there, key=lambda name: name != DONE):
        folder.delete(name)
    digests = {}
    for path in sorted(place.rglob("*")):
        if path.is_file() and path.name != DONE:
            name, content = path.relative_to(place).as_posix(), path.read_bytes()
            digests[name] = _digest(content)
            folder.write(name, content)
    folder.write(DONE, json.dumps(digests, indent=2).encode())


def _is_complete(folder: Folder) -> bool:
    """Return whether a finished trial's files match its ``DONE``."""
    try:
        return all(
            digest in (None, _digest(folder.read(name)))
            for name, digest in _expected_digests(folder).items()
        )
    except (FileNotFoundError, DataError):
        return False


def _fetch_trial(folder: Folder, place: Path, wanted: Wanted = everything) -> bool:
    """Download the wanted files of a finished trial; return whether it is complete."""
    shutil.rmtree(place, ignore_errors=True)  # what a failed try left
    place.mkdir(parents=True)
    try:
        for name, digest in _expected_digests(folder).items():
            inside(place, name)  # of what is not wanted too: a trial is refused as a whole
            if wanted(name) and digest not in (None, _fetch(folder, name, place)):
                shutil.rmtree(place)
                return False
    except FileNotFoundError:
        shutil.rmtree(place)
        return False
    (place / DONE).touch()
    return True


def _expected_digests(folder: Folder) -> Mapping[str, str | None]:
    """Return the digests in a finished trial's ``DONE``, by file name.

    A trial copied from a local directory has an empty ``DONE``, without digests.

    Raises:
        DataError: it has another format.
    """
    content = folder.read(DONE)
    if content:
        with suppress(DataError):
            told = parse_json(content, DONE)
            if all(isinstance(each, str) for each in told.values()):
                return told
        raise DataError(f"{folder}/{DONE}: expected a JSON object with a SHA-256 for each file")
    return {name: None for name in folder.files() if name != DONE}


def _fetch(folder: Folder, name: str, directory: Path) -> str:
    """Download a file to a directory; return its digest."""
    path, content = inside(directory, name), folder.read(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, ns=_AS_FETCHED)
    return _digest(content)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
