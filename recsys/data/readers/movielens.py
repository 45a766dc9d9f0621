"""MovieLens in each of its forms: 100K, 1M and 10M, latest (CSV), and RecBole's atomic files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.data.readers.delimited import COMPRESSED, TextFormat, read_text
from recsys.data.readers.movielens_tables import (
    SideTable,
    atomic_items,
    atomic_users,
    csv_items,
    dat_items,
    dat_users,
    pipe_items,
    pipe_users,
)
from recsys.data.readers.reader import Categorical, Chunk, Columns, Origin, Traits
from recsys.data.readers.request import Request
from recsys.data.readers.values import numbers
from recsys.errors import ConfigError, DataError

_FEATURES = ("user", "item", "age", "gender", "occupation", "zip", "year", "genres", "hour")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Form:
    """Where a form of MovieLens keeps what; ``columns`` are its user, item, rating and time."""

    name: str
    ratings: str
    text: TextFormat
    columns: tuple[str, str, str, str]
    users: tuple[str, Callable[[Path], SideTable]] | None
    items: tuple[str, Callable[[Path], SideTable]]


_PLAIN = ("user", "item", "rating", "time")
_FORMS = (
    _Form(
        name="100k",
        ratings="u.data",
        text=TextFormat(delimiter="\t", names=_PLAIN, quoted=False),
        columns=_PLAIN,
        users=("u.user", pipe_users),
        items=("u.item", pipe_items),
    ),
    _Form(
        name="1m",
        ratings="ratings.dat",
        text=TextFormat(delimiter="::", names=_PLAIN, quoted=False),
        columns=_PLAIN,
        users=("users.dat", dat_users),
        items=("movies.dat", dat_items),
    ),
    _Form(
        name="latest",
        ratings="ratings.csv",
        text=TextFormat(),
        columns=("userId", "movieId", "rating", "timestamp"),
        users=None,
        items=("movies.csv", csv_items),
    ),
    _Form(
        name="atomic",
        ratings="*.inter",
        text=TextFormat(delimiter="\t", quoted=False),
        columns=("user_id:token", "item_id:token", "rating:float", "timestamp:float"),
        users=("*.user", atomic_users),
        items=("*.item", atomic_items),
    ),
)
_WITHOUT_USERS = tuple(
    replace(form, users=None, name="10m" if form.name == "1m" else form.name)
    for form in _FORMS
    if form.name in ("1m", "atomic")  # of MovieLens-10M and 20M nothing is told about users
)


class MovieLens:
    """Ratings as clicks: 1 if the rating is at least ``threshold``.

    Features are user, item, age (in the seven brackets of MovieLens-1M), gender, occupation, the
    first two characters of the zip code, year of release, genres (a bag) and hour of the day
    (UTC); what a form does not tell is not among them. The group is the user.
    """

    def __init__(self, directory: Path, *, threshold: float = 4.0) -> None:
        """Raise DataError if ``directory`` holds no form of MovieLens, or a broken table."""
        self._threshold = threshold
        self._form, self._ratings = _find(directory)
        self._items = self._form.items[1](_only(directory, self._form.items[0]))
        users = self._form.users
        self._users = users[1](_only(directory, users[0])) if users else None
        told = {"user", "item", "hour", *self._items.columns}
        told |= set(self._users.columns) if self._users else set()
        self._features = tuple(name for name in _FEATURES if name in told)

    @classmethod
    def open(cls, request: Request) -> MovieLens:
        """Return the reader of the one directory that is asked for."""
        if len(request.sources) != 1:
            raise ConfigError(
                f"movielens: {len(request.sources)} sources, expected one directory"
                " (with u.data, ratings.dat, ratings.csv or *.inter)"
            )
        threshold = 4.0 if request.threshold is None else request.threshold
        return cls(request.sources[0].path, threshold=threshold)

    @property
    def columns(self) -> Columns:
        """The features that this form tells; genres are the one bag."""
        return Columns(
            categorical=tuple(
                Categorical(name=name, encoding="vocabulary:1", multi_valued=name == "genres")
                for name in self._features
            ),
            group="user",
        )

    @property
    def traits(self) -> Traits:
        """Every rating has its time."""
        return Traits(timed=True)

    @property
    def meta(self) -> dict[str, Any]:
        """The form and the threshold."""
        return {
            "reader": "movielens",
            "form": self._form.name,
            "threshold": self._threshold,
            "sources": [self._ratings.name],
        }

    def row_count(self) -> int:
        """Return the number of ratings."""
        return sum(len(chunk) for chunk in self.chunks())

    def chunks(self) -> Iterator[Chunk]:
        """Yield the ratings in the order of their file."""
        user, item, rating, time = self._form.columns
        for origin, batch in read_text(self._ratings, self._form.text, self._form.columns):
            rated = numbers(batch[rating], "rating", origin)
            seconds = numbers(batch[time], "time", origin)
            found: dict[str, pa.Array] = {
                "user": batch[user],
                "item": batch[item],
                "hour": pa.array((seconds // 3600 % 24).astype(np.int64)).cast(pa.string()),
                **self._items.look_up(batch[item], "item", origin),
            }
            if self._users:
                found |= self._users.look_up(batch[user], "user", origin)
            yield Chunk(
                origin=origin,
                label=(rated >= self._threshold).astype(np.float32),
                dense=np.empty((len(rated), 0), np.float32),
                categorical=tuple(found[name] for name in self._features),
                group=_present(batch[user], "user", origin),
                time=seconds,
            )


def _present(values: pa.Array, name: str, origin: Origin) -> pa.Array:
    """Return the values; DataError if one is missing."""
    if values.null_count:
        row = pc.index(values.is_null(), True).as_py()
        raise DataError(f"{origin.at(row)}: {name} is missing")
    return values


def _find(directory: Path) -> tuple[_Form, Path]:
    """Return the form that lies in ``directory`` and its file of ratings."""
    if not directory.is_dir():
        raise DataError(f"{directory}: there is no such directory")
    forms = (*_FORMS, *_WITHOUT_USERS)
    for form in forms:
        if all(_matching(directory, name) for name in _files(form)):
            return form, _only(directory, form.ratings)
    expected = "; ".join(", ".join(_files(form)) for form in forms)
    raise DataError(f"{directory}: no form of MovieLens; expected one of: {expected}")


def _files(form: _Form) -> list[str]:
    return [form.ratings, form.items[0], *([form.users[0]] if form.users else [])]


def _matching(directory: Path, pattern: str) -> list[Path]:
    found = (sorted(directory.glob(pattern + packed)) for packed in COMPRESSED)
    return next(filter(None, found), [])


def _only(directory: Path, pattern: str) -> Path:
    """Return the one file of this name, which may be compressed."""
    found = _matching(directory, pattern)
    if len(found) != 1:
        raise DataError(f"{directory}: {len(found)} files named {pattern}, expected one")
    return found[0]
