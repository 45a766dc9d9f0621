"""Results on a file system that is not this machine's, seen through a directory that is.

Whoever reads a sweep reads a directory. Where the results lie at a URI, a directory of this machine
mirrors them: what is there is fetched first, and what is made here is sent. A trial is sent file by
file, ``DONE`` last, so that it is there whole or not at all; it is never changed afterwards.
``DONE`` holds what the other files' contents hash to: files of two processes that sent one trial at
the same time are no whole trial, and count as none.
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
    """Want every file."""
    return True


@dataclass(frozen=True, kw_only=True, slots=True)
class Results:
    """Where a sweep's results lie: in a directory, which may mirror a URI."""

    directory: Path
    uri: str | None = None

    def __str__(self) -> str:
        """Return the place for a person, without keys."""
        return str(self.directory) if self.uri is None else without_credentials(self.uri)

    @property
    def place(self) -> Path | str:
        """What all nodes reach: the directory, or the URI that it mirrors."""
        return self.directory if self.uri is None else self.uri

    def write(self, trial: Trial, result: TrialResult, *, keep_weights: bool) -> None:
        """Write a trial where it belongs; called where it was trained, on any node."""
        if self.uri is None:
            write_trial(self.directory, trial, result, keep_weights=keep_weights)
            return
        with tempfile.TemporaryDirectory() as here:
            place = write_trial(Path(here), trial, result, keep_weights=keep_weights)
            _send_trial(Folder(self.uri, f"{_TRIALS}/{trial.digest}"), place, again=keep_weights)

    def receive(self, trial: Trial) -> bool:
        """Have a trial in the directory that was trained elsewhere; return whether it is whole."""
        place = trial_directory(self.directory, trial)
        if self.uri is not None:
            return _fetch_trial(Folder(self.uri, f"{_TRIALS}/{trial.digest}"), place)
        # A network's file system remembers what was not there, until it is listed again.
        return place in place.parent.glob("*") and _is_done(place)

    def fetch(self, wanted: Wanted = everything, *, beside: bool = True) -> None:
        """Have in the directory what lies at the URI: finished trials, failures, what is beside.

        Checkpoints stay there: whoever goes on from one fetches it. Called again, it fetches no
        finished trial twice, and deletes here what no longer exists there. Without ``beside``, only
        the folder of trials is listed, and fetched.

        Raises:
            DataError: what lies there would lead out of the directory.
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
        """Delete a file beside the trials, here and at the URI; it need not be there."""
        (self.directory / name).unlink(missing_ok=True)
        if self.uri is not None:
            Folder(self.uri).delete(name)

    def send(self) -> None:
        """Send what this machine made beside the trials: the manifest, the report, failures."""
        for path in sorted(self.directory.rglob("*")):
            if path.is_file() and not _is_done(path.parent):
                self.send_file(path)

    def send_file(self, path: Path) -> None:
        """Send a file of the directory, unless it lies at the URI as it is."""
        if self.uri is not None and path.stat().st_mtime_ns != _AS_FETCHED[1]:
            name = path.relative_to(self.directory).as_posix()
            Folder(self.uri).write(name, inside(self.directory, name).read_bytes())
            os.utime(path, ns=_AS_FETCHED)


@contextmanager
def results_at(
    place: str | Path, *, writes: bool = True, wanted: Wanted = everything
) -> Iterator[Results]:
    """Have the results at a path, or at a URI that pyarrow knows, within the block.

    What lies at a URI is fetched at the start, as far as it is wanted, and what was made beside
    trials is sent at the end, unless nothing is to be written.

    Raises:
        ConfigError: no file system is known for the URI, or it cannot be read or written.
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
    """Fetch what is there, having made sure that something can be written where it is to be."""
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
    """Have the finished trial at a URI in a directory, with all its files.

    Raises:
        DataError: no finished trial is there, whole.
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
    """Send a trial, unless it is there; ``again`` has it replaced, its weights among the rest."""
    there = folder.files()
    if DONE in there and not again and _is_whole(folder):
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


def _is_whole(folder: Folder) -> bool:
    """Tell whether a finished trial's files are those that its ``DONE`` tells."""
    try:
        return all(
            digest in (None, _digest(folder.read(name)))
            for name, digest in _told_digests(folder).items()
        )
    except (FileNotFoundError, DataError):
        return False


def _fetch_trial(folder: Folder, place: Path, wanted: Wanted = everything) -> bool:
    """Have a finished trial, as far as it is wanted, in a directory; return whether it is whole."""
    shutil.rmtree(place, ignore_errors=True)  # what a failed try left
    place.mkdir(parents=True)
    try:
        for name, digest in _told_digests(folder).items():
            inside(place, name)  # of what is not wanted too: a trial is refused as a whole
            if wanted(name) and digest not in (None, _fetch(folder, name, place)):
                shutil.rmtree(place)
                return False
    except FileNotFoundError:
        shutil.rmtree(place)
        return False
    (place / DONE).touch()
    return True


def _told_digests(folder: Folder) -> Mapping[str, str | None]:
    """Return what the files of a finished trial hash to, by name.

    A trial that was copied there from a directory has an empty ``DONE``, which tells nothing.

    Raises:
        DataError: it is not what ``_send_trial`` writes.
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
    """Have a file in a directory; return its digest."""
    path, content = inside(directory, name), folder.read(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, ns=_AS_FETCHED)
    return _digest(content)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
