"""The readers by name, and what a person can tell each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from recsys.calls import nearest
from recsys.data.readers import avazu, criteo, frappe, tabular
from recsys.data.readers.avazu import Avazu
from recsys.data.readers.criteo import Criteo
from recsys.data.readers.delimited import Pattern
from recsys.data.readers.frappe import open_frappe
from recsys.data.readers.movielens import MovieLens
from recsys.data.readers.reader import Reader
from recsys.data.readers.request import Request
from recsys.data.readers.tabular import Tabular
from recsys.data.synthetic import open_synthetic
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
    "criteo": Entry(open=Criteo.open, patterns=criteo.PATTERNS, data_set="criteo-kaggle"),
    "frappe": Entry(open=open_frappe, patterns=frappe.PATTERNS, data_set="frappe"),
    "avazu": Entry(open=Avazu.open, patterns=avazu.PATTERNS, data_set="avazu"),
    "tabular": Entry(open=Tabular.open, options=("schema",), patterns=tabular.PATTERNS),
    "synthetic": Entry(open=open_synthetic, options=("rows", "seed"), sourceless=True),
}


def entry(name: str) -> Entry:
    """Return the entry of a reader; ConfigError names the nearest one if there is none."""
    if name not in READERS:
        hint = nearest(name, list(READERS)) or f", expected one of {', '.join(READERS)}"
        raise ConfigError(f"reader {name!r}: unknown{hint}")
    return READERS[name]


def check_options(name: str, given: Mapping[str, Any]) -> None:
    """Raise ConfigError if an option is given (is not None) that the reader does not heed."""
    options = entry(name).options
    for option, value in given.items():
        if value is not None and option not in options:
            takes = " and ".join(f"--{one}" for one in options) or "no options of its own"
            raise ConfigError(f"--{option}: reader {name} does not take it; it takes {takes}")
