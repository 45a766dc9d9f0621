"""The readers by name, and what a person can tell each."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from recsys.data.readers.movielens import MovieLens
from recsys.data.readers.reader import Reader, Request
from recsys.data.readers.sources import Pattern
from recsys.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """How to open a reader.

    ``options`` are the fields of a Request that it heeds. ``patterns`` say which files of a
    directory it reads. ``data_set`` is downloaded where no source is given; ``sourceless`` readers
    need none.
    """

    open: Callable[[Request], Reader]
    options: tuple[str, ...] = ()
    patterns: tuple[Pattern, ...] = ()
    data_set: str | None = None
    sourceless: bool = False


READERS: Mapping[str, Entry] = {
    "movielens": Entry(open=MovieLens.open, options=("threshold",), data_set="movielens-100k"),
}


def entry(name: str) -> Entry:
    """Return the entry of a reader; ConfigError names the nearest one if there is none."""
    if name not in READERS:
        near = difflib.get_close_matches(name, READERS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(READERS)}"
        raise ConfigError(f"reader {name!r}: {hint}")
    return READERS[name]


def check_options(name: str, given: Mapping[str, Any]) -> None:
    """Raise ConfigError if an option is given (is not None) that the reader does not heed."""
    options = entry(name).options
    for option, value in given.items():
        if value is not None and option not in options:
            takes = " and ".join(f"--{one}" for one in options) or "no options of its own"
            raise ConfigError(f"--{option}: reader {name} does not take it; it takes {takes}")
