"""Finds the results and trials that a command names: by path, URI, or arm and replica."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from analysis.errors import ResultsError
from analysis.results.reading import DONE, MANIFEST, read_sweep
from distrib.errors import TrialFailed
from distrib.trials.folder import Folder, seen_from
from distrib.trials.remote_results import Results, Wanted, everything, fetch_trial, results_at
from distrib.trials.results import read_trial
from distrib.trials.trial import Trial
from recsys.calls import listed
from recsys.credentials import without_credentials
from recsys.errors import ConfigError, DataError
from recsys.files import first_line
from recsys.models.config import CustomModelConfig


@contextmanager
def sweep_at(place: str, *, writes: bool = True, wanted: Wanted = everything) -> Iterator[Results]:
    """Yield a sweep's results as ``results_at``, with all trials of its manifest.

    Raises ConfigError as ``results_at``, and ResultsError if the manifest is damaged.
    """
    with results_at(place, writes=writes, wanted=wanted) as results:
        _fetch_shared(results, wanted)
        yield results


def fetch_again(results: Results, wanted: Wanted) -> None:
    """Fetch new files of a sweep at a URI."""
    results.fetch(wanted)
    _fetch_shared(results, wanted)


def _fetch_shared(results: Results, wanted: Wanted) -> None:
    """Fetch the trials of a search, which are in the parent of its folder."""
    directory = results.directory
    if results.uri is None or not (directory / MANIFEST).exists():
        return
    places = (place for arm in read_sweep(directory).arms for place in arm.places)
    if any(directory / ".." in place.parents for place in places):
        above = seen_from(results.uri, "..")
        Results(directory=directory.parent, uri=above).fetch(wanted, beside=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedTrial:
    """A trial in a local directory.

    ``place`` is its path or URI for output, and ``name`` the last part of that; ``title`` is arm
    and replica if these selected it, else the name.
    """

    directory: Path
    place: str
    name: str
    title: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Consent:
    """The custom models in results that may be imported: an import runs their code."""

    models: Collection[str] = ()
    """As ``package.module:factory``"""
    trust: bool = False
    """Any of them"""

    def read(self, place: Path) -> Trial:
        """Return the trial in a directory.

        Raises:
            DataError: it is not a finished trial, or names a model without the user's consent.
        """
        trial = read_trial(place)
        model = trial.recipe.model
        if isinstance(model, CustomModelConfig) and not (self.trust or model.name in self.models):
            raise DataError(
                f"{place}: names the model {model.name}, whose module is imported only by "
                f"consent: pass --model {model.name}, or --trust if you trust these results"
            )
        return trial


@contextmanager
def trial_at(
    place: str | Path, arm: str | None = None, replica: int | None = None
) -> Iterator[NamedTrial]:
    """Yield the trial at a place, or that of an arm and replica of the sweep there.

    Fetches only the manifest and that trial from a URI. Errors in the block that name the local
    copy name the URI instead.

    Raises:
        ConfigError: the place cannot be read, or has no such arm or finished replica.
        DataError: there is no finished trial at the URI.
        ResultsError: the manifest is damaged.
    """
    if arm is None and replica is not None:
        raise ConfigError(f"--replica {replica}: found no --arm, expected the arm of the replica")
    with tempfile.TemporaryDirectory(prefix="soloist-trial-") as scratch:
        found, title = _find(str(place), arm, replica or 0, Path(scratch, "sweep"))
        if "://" not in found:
            name = Path(found).resolve().name
            yield NamedTrial(directory=Path(found), place=found, name=name, title=title or name)
            return
        local, shown = Path(scratch, "trial"), without_credentials(found)
        with _readable(found):
            fetch_trial(found, local)
        with _naming(found, local):
            name = shown.rpartition("/")[2]
            yield NamedTrial(directory=local, place=shown, name=name, title=title or name)


def _find(place: str, arm: str | None, replica: int, scratch: Path) -> tuple[str, str]:
    """Return the place of the selected trial, and its title if arm and replica selected it."""
    shown = without_credentials(place)
    with _naming(place, scratch), _readable(place):
        arms = _arms_at(place, scratch)
        if not arms and arm is None:
            return place, ""
        if not arms:
            raise ConfigError(
                f"--arm {arm}: {shown} has no {MANIFEST}, expected the output of a sweep"
            )
        names = listed(list(arms))
        if arm is None:
            raise ConfigError(f"{shown}: is a sweep, expected --arm with one of {names}")
        if arm not in arms:
            raise ConfigError(f"--arm {arm}: unknown in {shown}, expected one of {names}")
        places = arms[arm]
        if replica < len(places) and Folder(places[replica]).has(DONE):
            return places[replica], f"{arm}, replica {replica}"
        done = [str(number) for number, each in enumerate(places) if Folder(each).has(DONE)]
        expected = f"expected one of {', '.join(done)}" if done else "which has none yet"
        raise ConfigError(
            f"--replica {replica}: no finished replica of {arm} in {shown}, {expected}"
        )


def _arms_at(place: str, scratch: Path) -> dict[str, list[str]]:
    """Return the arms of the sweep at a place, with the places of their replicas."""
    directory = Path(place)
    if "://" in place:
        directory = scratch
        try:
            content = Folder(place).read(MANIFEST)
        except FileNotFoundError:
            return {}
        directory.mkdir()
        (directory / MANIFEST).write_bytes(content)
    elif not (directory / MANIFEST).exists():
        return {}
    return {
        arm.name: [seen_from(place, each.relative_to(directory).as_posix()) for each in arm.places]
        for arm in read_sweep(directory).arms
    }


@contextmanager
def _readable(place: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        shown = without_credentials(place)
        raise ConfigError(
            f"{shown}: {first_line(error)}; expected a place that can be read"
        ) from None


@contextmanager
def _naming(place: str, local: Path) -> Iterator[None]:
    """Name a place in errors, instead of the local directory to which it was fetched."""
    try:
        yield
    except (ConfigError, DataError, ResultsError, TrialFailed) as error:
        text = str(error).replace(str(local), without_credentials(place))
        raise type(error)(text) from None
