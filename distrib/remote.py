"""Results on a file system that is not this machine's, seen through a directory that is.

Whoever reads a sweep reads a directory. Where the results lie at a URI, a directory of this machine
mirrors them: what is there is fetched first, and what is made here is sent. A trial is sent file by
file, ``DONE`` last, so that it is there whole or not at all; it is never changed afterwards.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from distrib.folder import Folder, without_secrets
from distrib.results import DONE, trial_directory, write_trial
from distrib.status import ERROR
from distrib.trial import Trial, TrialResult
from recsys.errors import ConfigError

_TRIALS = "trials"
_PROBE = ".writable"


@dataclass(frozen=True, kw_only=True, slots=True)
class Results:
    """Where a sweep's results lie: in a directory, which may mirror a URI."""

    directory: Path
    uri: str | None = None

    def __str__(self) -> str:
        """Return the place for a person, without keys."""
        return str(self.directory) if self.uri is None else without_secrets(self.uri)

    @property
    def shared(self) -> Path | None:
        """A directory that all nodes reach, where there is one."""
        return self.directory if self.uri is None else None

    def write(self, trial: Trial, result: TrialResult, *, keep_weights: bool) -> None:
        """Write a trial where it belongs; called where it was trained, on any node."""
        if self.uri is None:
            write_trial(self.directory, trial, result, keep_weights=keep_weights)
            return
        with tempfile.TemporaryDirectory() as here:
            place = write_trial(Path(here), trial, result, keep_weights=keep_weights)
            _send_trial(Folder(self.uri, f"{_TRIALS}/{trial.digest}"), place, again=keep_weights)

    def receive(self, trial: Trial) -> None:
        """Have a trial in the directory that was trained elsewhere."""
        if self.uri is not None:
            place = trial_directory(self.directory, trial)
            _fetch_trial(Folder(self.uri, f"{_TRIALS}/{trial.digest}"), place)

    def fetch(self) -> None:
        """Have in the directory what lies at the URI: finished trials, failures, what is beside."""
        if self.uri is None:
            return
        folder = Folder(self.uri)
        names = folder.files()
        finished = {name.removesuffix(f"/{DONE}") for name in names if name.endswith(f"/{DONE}")}
        for name in names:
            place, _, file = name.rpartition("/")
            is_whole = place in finished or not name.startswith(f"{_TRIALS}/")
            if file == ERROR or (is_whole and file != DONE):
                _fetch(folder, name, self.directory)
        for place in finished:
            (self.directory / place / DONE).touch()

    def send(self) -> None:
        """Send what this machine made beside the trials: the manifest, the report, failures."""
        if self.uri is None:
            return
        folder = Folder(self.uri)
        for path in sorted(self.directory.rglob("*")):
            if path.is_file() and not (path.parent / DONE).exists():
                folder.write(path.relative_to(self.directory).as_posix(), path.read_bytes())


@contextmanager
def results_at(place: str | Path, *, writes: bool = True) -> Iterator[Results]:
    """Have the results at a path, or at a URI that pyarrow knows, within the block.

    What lies at a URI is fetched at the start, and what was made beside trials is sent at the end,
    unless nothing is to be written.

    Raises:
        ConfigError: no file system is known for the URI, or it cannot be read or written.
    """
    if "://" not in str(place):
        yield Results(directory=Path(place))
        return
    with tempfile.TemporaryDirectory(prefix="soloist-results-") as here:
        results = Results(directory=Path(here), uri=str(place))
        _prepare(results, str(place), writes=writes)
        try:
            yield results
        finally:
            if writes:
                results.send()


def _prepare(results: Results, uri: str, *, writes: bool) -> None:
    """Fetch what is there, having made sure that something can be written."""
    try:
        folder = Folder(uri)
        if writes:
            folder.write(_PROBE, b"")
            folder.delete(_PROBE)
        results.fetch()
    except (OSError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise ConfigError(
            f"{without_secrets(uri)}: {first}; expected a place that can be written"
        ) from None


def _send_trial(folder: Folder, place: Path, *, again: bool) -> None:
    """Send a trial, unless it is there; ``again`` has it replaced, its weights among the rest."""
    there = folder.files()
    if DONE in there and not again:
        return
    for name in sorted(there, key=lambda name: name != DONE):
        folder.delete(name)
    paths = [path for path in sorted(place.rglob("*")) if path.is_file() and path.name != DONE]
    for path in [*paths, place / DONE]:
        folder.write(path.relative_to(place).as_posix(), path.read_bytes())


def _fetch_trial(folder: Folder, place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)  # what a failed try left
    place.mkdir(parents=True)
    names = folder.files()
    for name in names:
        if name != DONE:
            _fetch(folder, name, place)
    (place / DONE).touch()


def _fetch(folder: Folder, name: str, directory: Path) -> None:
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(folder.read(name))
