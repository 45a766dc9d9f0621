"""Finds results and trials that a command names: by path, URI, or arm and replica."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from analysis.errors import ResultsError
from analysis.results.reading import DONE, MANIFEST, ArmResults, read_sweep
from distrib.errors import TrialFailed
from distrib.trials.folder import Folder, seen_from
from distrib.trials.remote_results import Results, Wanted, everything, fetch_trial, results_at
from distrib.trials.results import read_trial
from distrib.trials.trial import Trial
from recsys.credentials import without_credentials
from recsys.errors import ConfigError, DataError
from recsys.models.config import CustomModelConfig


@contextmanager
def sweep_at(place: str, *, writes: bool = True, wanted: Wanted = everything) -> Iterator[Results]:
    """Have a sweep's results within the block, as ``results_at``, and all trials that it names.

    Raises:
        ConfigError: as ``results_at``.
        ResultsError: the manifest is not what a sweep writes.
    """
    with results_at(place, writes=writes, wanted=wanted) as results:
        _fetch_shared(results, wanted)
        yield results


def fetch_again(results: Results, wanted: Wanted) -> None:
    """Have what is new of a sweep at a URI."""
    results.fetch(wanted)
    _fetch_shared(results, wanted)


def _fetch_shared(results: Results, wanted: Wanted) -> None:
    """Have the trials of a search, which lie beside its folder."""
    directory = results.directory
    if results.uri is None or not (directory / MANIFEST).exists():
        return
    places = (place for arm in read_sweep(directory).arms for place in arm.places)
    if any(directory / ".." in place.parents for place in places):
        above = seen_from(results.uri, "..")
        Results(directory=directory.parent, uri=above).fetch(wanted, beside=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedTrial:
    """A trial that a person named, in a directory of this machine.

    ``place`` is where it lies, for a person; ``name`` is its own directory's there; ``title`` tells
    it from others: arm and replica where these were asked for, else the name.
    """

    directory: Path
    place: str
    name: str
    title: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Consent:
    """Which modules of the user's that results name may be imported: importing runs their code."""

    models: Collection[str] = ()
    """As ``package.module:factory``"""
    trust: bool = False
    """Any of them"""

    def read(self, place: Path) -> Trial:
        """Return what was trained in a finished trial's directory.

        Raises:
            DataError: it is no finished trial, or names a model without the user's consent.
        """
        trial = read_trial(place)
        model = trial.recipe.model
        if (
            isinstance(model, CustomModelConfig)
            and not self.trust
            and model.name not in self.models
        ):
            raise DataError(
                f"{place}: names the model {model.name}, whose module is imported only by "
                f"consent: pass --model {model.name}, or --trust if you trust these results"
            )
        return trial


@contextmanager
def trial_at(
    place: str | Path, arm: str | None = None, replica: int | None = None
) -> Iterator[NamedTrial]:
    """Have a trial within the block: the one that lies at a place, or an arm's of the sweep there.

    Of a sweep at a URI only the manifest and that trial are fetched. Errors of the block that name
    where the trial is here name the URI instead.

    Raises:
        ConfigError: the place cannot be read, or has no such arm or finished replica.
        DataError: no finished trial lies at the URI.
        ResultsError: the manifest is not what a sweep writes.
    """
    if arm is None and replica is not None:
        raise ConfigError(f"--replica {replica}: found no --arm, expected the arm that it is of")
    with tempfile.TemporaryDirectory(prefix="soloist-trial-") as scratch:
        lies, title = _find(str(place), arm, replica or 0, Path(scratch, "sweep"))
        if "://" not in lies:
            name = Path(lies).resolve().name
            yield NamedTrial(directory=Path(lies), place=lies, name=name, title=title or name)
            return
        here, told = Path(scratch, "trial"), without_credentials(lies)
        with _readable(lies):
            fetch_trial(lies, here)
        with _told_as(lies, here):
            name = told.rpartition("/")[2]
            yield NamedTrial(directory=here, place=told, name=name, title=title or name)


def _find(place: str, arm: str | None, replica: int, scratch: Path) -> tuple[str, str]:
    """Return where the trial that is meant lies, and arm and replica where these tell which."""
    with _told_as(place, scratch), _readable(place):
        arms = _arms_at(place, scratch)
        if not arms and arm is None:
            return place, ""
        found = _arm_named(arm, arms, place)
        return _replica_of(found, replica, place), f"{found.name}, replica {replica}"


@dataclass(frozen=True, kw_only=True, slots=True)
class _ArmPlaces:
    """An arm, and where each of its replicas is or will be."""

    name: str
    places: tuple[str, ...]


def _arms_at(place: str, scratch: Path) -> tuple[_ArmPlaces, ...]:
    """Return the arms of the sweep at a place; none where no sweep is."""
    directory = Path(place)
    if "://" in place:
        directory = scratch
        try:
            content = Folder(place).read(MANIFEST)
        except FileNotFoundError:
            return ()
        directory.mkdir()
        (directory / MANIFEST).write_bytes(content)
    elif not (directory / MANIFEST).exists():
        return ()
    return tuple(_seen_from(place, directory, arm) for arm in read_sweep(directory).arms)


def _seen_from(place: str, directory: Path, arm: ArmResults) -> _ArmPlaces:
    relative = (each.relative_to(directory).as_posix() for each in arm.places)
    return _ArmPlaces(name=arm.name, places=tuple(seen_from(place, each) for each in relative))


def _arm_named(name: str | None, arms: tuple[_ArmPlaces, ...], place: str) -> _ArmPlaces:
    told, names = without_credentials(place), ", ".join(arm.name for arm in arms)
    if not arms:
        raise ConfigError(f"--arm {name}: {told} has no {MANIFEST}, expected the output of a sweep")
    if name is None:
        raise ConfigError(f"{told}: is a sweep, expected --arm with one of {names}")
    found = next((arm for arm in arms if arm.name == name), None)
    if found is None:
        raise ConfigError(f"--arm {name}: unknown in {told}, expected one of {names}")
    return found


def _replica_of(arm: _ArmPlaces, replica: int, place: str) -> str:
    """Return where a finished replica lies."""
    if replica < len(arm.places) and Folder(arm.places[replica]).has(DONE):
        return arm.places[replica]
    done = [str(at) for at, each in enumerate(arm.places) if Folder(each).has(DONE)]
    expected = f"expected one of {', '.join(done)}" if done else "which has none yet"
    told = without_credentials(place)
    raise ConfigError(
        f"--replica {replica}: no finished replica of {arm.name} in {told}, {expected}"
    )


@contextmanager
def _readable(place: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        told, first = without_credentials(place), str(error).splitlines()[0]
        raise ConfigError(f"{told}: {first}; expected a place that can be read") from None


@contextmanager
def _told_as(place: str, here: Path) -> Iterator[None]:
    """Have errors name a place that a person knows, not the directory that it was fetched to."""
    try:
        yield
    except (ConfigError, DataError, ResultsError, TrialFailed) as error:
        told = str(error).replace(str(here), without_credentials(place))
        raise type(error)(told) from None
