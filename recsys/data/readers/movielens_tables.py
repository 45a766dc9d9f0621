"""What MovieLens tells of users and movies, in each of its forms: small tables, held whole."""

from __future__ import annotations

import csv
import io
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import pyarrow as pa
import pyarrow.compute as pc

from recsys.data.readers.delimited import check_columns, open_bytes
from recsys.data.readers.reader import Origin
from recsys.errors import DataError

_AGES = (1, 18, 25, 35, 45, 50, 56)  # the brackets in which MovieLens-1M gives ages
_ZIP_CHARACTERS = 2  # about a state of the USA
_YEAR_IN_TITLE = re.compile(r"\((\d{4})\)\s*$")
# The order of the flags in u.item.
_GENRES_100K = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime"),
    *("Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery"),
    *("Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
_COLUMNS_100K = 5 + len(_GENRES_100K)

Value = str | list[str] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class SideTable:
    """Columns of text (or of lists of text) by the id of a user or movie."""

    path: Path
    ids: pa.Array
    columns: dict[str, pa.Array]

    def look_up(self, ids: pa.Array, name: str, origin: Origin) -> dict[str, pa.Array]:
        """Return the columns for these ids; DataError for an id that the table lacks."""
        rows = pc.index_in(ids, value_set=self.ids)
        if rows.null_count:
            row = pc.index(rows.is_null(), True).as_py()
            raise DataError(
                f"{origin.at(row)}: {name} {ids[row].as_py()!r} is not in {self.path.name}"
            )
        return {column: values.take(rows) for column, values in self.columns.items()}


def pipe_users(path: Path) -> SideTable:
    """Read ``u.user``: id|age|gender|occupation|zip."""
    rows = ((line[0], _person(path, row, line[1], *line[2:])) for row, line in _lines(path, "|", 5))
    return _table(path, rows)


def dat_users(path: Path) -> SideTable:
    """Read ``users.dat``: id::gender::age::occupation::zip."""
    rows = (
        (user, _person(path, row, age, gender, occupation, zip_code))
        for row, (user, gender, age, occupation, zip_code) in _lines(path, "::", 5)
    )
    return _table(path, rows)


def atomic_users(path: Path) -> SideTable:
    """Read ``*.user``: a header, then tab-separated user, age, gender, occupation, zip code."""
    wanted = ("user_id", "age", "gender", "occupation", "zip_code")
    with _text(path) as file:
        rows = _named(path, _tabbed(file), wanted)
        return _table(path, ((user, _person(path, row, *told)) for row, (user, *told) in rows))


def pipe_items(path: Path) -> SideTable:
    """Read ``u.item``: id|title|date|video date|address|19 flags, one per genre."""
    rows = (
        (
            line[0],
            _movie(
                line[2][-4:], [g for g, f in zip(_GENRES_100K, line[5:], strict=True) if f == "1"]
            ),
        )
        for _, line in _lines(path, "|", _COLUMNS_100K)
    )
    return _table(path, rows)


def dat_items(path: Path) -> SideTable:
    """Read ``movies.dat``: id::title (year)::genre|genre."""
    rows = ((movie, _titled(title, genres)) for _, (movie, title, genres) in _lines(path, "::", 3))
    return _table(path, rows)


def csv_items(path: Path) -> SideTable:
    """Read ``movies.csv``: movieId,title (year),genre|genre."""
    wanted = ("movieId", "title", "genres")
    with _text(path) as file:
        rows = _named(path, csv.reader(file), wanted)
        return _table(path, ((movie, _titled(title, genres)) for _, (movie, title, genres) in rows))


def atomic_items(path: Path) -> SideTable:
    """Read ``*.item``: a header, then item, title, year and genres separated by spaces.

    RecBole names the genres of MovieLens-100K ``class``, those of the others ``genre``.
    """
    wanted = ("item_id", "release_year", "genre")
    with _text(path) as file:
        rows = _named(path, _tabbed(file), wanted)
        return _table(
            path, ((item, _movie(year, kinds.split())) for _, (item, year, kinds) in rows)
        )


def _person(
    path: Path, row: int, age: str, gender: str, occupation: str, zip_code: str
) -> dict[str, Value]:
    if not age.isascii() or not age.isdigit():
        raise DataError(f"{path}, row {row}: age is {age!r}, expected a whole number")
    bracket = _AGES[max(bisect_right(_AGES, int(age)) - 1, 0)]
    return {
        "age": str(bracket),
        "gender": gender,
        "occupation": occupation,
        "zip": zip_code[:_ZIP_CHARACTERS],
    }


def _movie(year: str, genres: list[str]) -> dict[str, Value]:
    return {"year": year if year.isdigit() else None, "genres": genres}


def _titled(title: str, genres: str) -> dict[str, Value]:
    """Return a movie whose title ends with its year."""
    year = _YEAR_IN_TITLE.search(title)
    named = [] if genres == "(no genres listed)" else [g for g in genres.split("|") if g]
    return _movie(year.group(1) if year else "", named)


def _table(path: Path, rows: Iterator[tuple[str, dict[str, Value]]]) -> SideTable:
    """Gather rows into columns."""
    gathered = list(rows)
    if not gathered:
        raise DataError(f"{path}: has no rows")
    types = {"genres": pa.list_(pa.string())}
    return SideTable(
        path=path,
        ids=pa.array([key for key, _ in gathered], pa.string()),
        columns={
            name: pa.array([values[name] for _, values in gathered], types.get(name, pa.string()))
            for name in gathered[0][1]
        },
    )


def _text(path: Path, encoding: str = "utf-8-sig") -> TextIO:
    return io.TextIOWrapper(io.BufferedReader(open_bytes(path)), encoding=encoding, newline="")


def _lines(path: Path, delimiter: str, columns: int) -> Iterator[tuple[int, list[str]]]:
    """Yield rows without a header, numbered from 1. MovieLens wrote them in Latin-1."""
    with _text(path, "latin-1") as file:
        lines = (line.rstrip("\r\n").split(delimiter) for line in file)
        yield from _counted(path, lines, columns, first_row=1)


def _tabbed(file: TextIO) -> Iterator[list[str]]:
    """Yield the fields of each line; in atomic files a quote is a character like any other.

    The header is ``NAME:TYPE``, of which the names count.
    """
    names = next(file, "").rstrip("\r\n").split("\t")
    plain = [name.partition(":")[0] for name in names]
    yield ["genre" if name == "class" else name for name in plain]
    yield from (line.rstrip("\r\n").split("\t") for line in file)


def _named(
    path: Path, lines: Iterator[list[str]], wanted: Sequence[str]
) -> Iterator[tuple[int, list[str]]]:
    """Yield the wanted fields of each row below a header."""
    try:
        names = next(lines, [])
    except (UnicodeDecodeError, csv.Error, OSError):
        raise DataError(f"{path}, row 1: not the names of columns") from None
    check_columns(path, names, wanted)
    places = [names.index(name) for name in wanted]
    for row, line in _counted(path, lines, len(names), first_row=2):
        yield row, [line[place] for place in places]


def _counted(
    path: Path, lines: Iterator[list[str]], columns: int, *, first_row: int
) -> Iterator[tuple[int, list[str]]]:
    """Yield rows with their numbers; DataError for a wrong number of columns or other text."""
    row = first_row
    try:
        for line in lines:
            if len(line) == columns:
                yield row, line
            elif any(line):
                raise DataError(f"{path}, row {row}: expected {columns} columns, found {len(line)}")
            row += 1
    except UnicodeDecodeError:
        raise DataError(f"{path}, row {row}: not UTF-8 text") from None
    except (csv.Error, OSError) as error:
        raise DataError(f"{path}, row {row}: {str(error).splitlines()[0]}") from None
