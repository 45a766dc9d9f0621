"""Where a sweep's results lie that a person names, to be read: a directory, or a URI."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from analysis.results import MANIFEST, read_sweep
from distrib.folder import seen_from
from distrib.remote import Results, Wanted, everything, results_at


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
