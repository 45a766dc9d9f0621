"""Small data sets in the forms in which they are published, written by the tests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

RATINGS = (
    # user, item, rating, time: hours 0, 1, 2, ... of 1 January 1970
    ("1", "10", 5, 0),
    ("2", "11", 3, 3600),
    ("1", "12", 4, 7200),
    ("3", "10", 1, 10800),
    ("2", "12", 2, 14400),
    ("3", "11", 5, 18000),
    ("1", "11", 4, 21600),
    ("2", "10", 3, 25200),
    ("3", "12", 4, 28800),
    ("4", "10", 2, 32400),
)
USERS = (
    # user, age, gender, occupation, zip
    ("1", "24", "M", "technician", "85711"),
    ("2", "53", "F", "other", "94043"),
    ("3", "17", "M", "writer", "V3N4P"),
    ("4", "53", "F", "writer", "94117"),
)
MOVIES = (
    # movie, title, year, genres
    ("10", "Été (chaud)", "1995", ("Animation", "Comedy")),
    ("11", "Heat: The Movie", "1996", ()),
    ("12", "Four, or More", "", ("Comedy", "Sci-Fi", "War")),
)
GENRES_100K = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime"),
    *("Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery"),
    *("Romance", "Sci-Fi", "Thriller", "War", "Western"),
)


def write_lines(path: Path, lines: Iterable[str], encoding: str = "utf-8") -> Path:
    """Write lines and return the path."""
    path.write_bytes("".join(f"{line}\n" for line in lines).encode(encoding))
    return path


def compressed(content: bytes, codec: str) -> bytes:
    """Return content compressed by ``gzip`` or ``zstd``."""
    stream = pa.BufferOutputStream()
    with pa.CompressedOutputStream(stream, codec) as packed:
        packed.write(content)
    return stream.getvalue().to_pybytes()


def write_100k(directory: Path) -> Path:
    """Write MovieLens in the form of 100K."""
    write_lines(directory / "u.data", ("\t".join(map(str, rating)) for rating in RATINGS))
    write_lines(directory / "u.user", ("|".join(user) for user in USERS))
    write_lines(directory / "u.item", map(_item_100k, MOVIES), "latin-1")
    return directory


def write_1m(directory: Path, *, users: bool = True) -> Path:
    """Write MovieLens in the form of 1M, or of 10M, which tells nothing of users."""
    write_lines(directory / "ratings.dat", ("::".join(map(str, rating)) for rating in RATINGS))
    if users:
        lines = (f"{user}::{sex}::{age}::{job}::{code}" for user, age, sex, job, code in USERS)
        write_lines(directory / "users.dat", lines)
    movies = (f"{m}::{_titled(title, year)}::{'|'.join(kinds)}" for m, title, year, kinds in MOVIES)
    write_lines(directory / "movies.dat", movies, "latin-1")
    return directory


def write_latest(directory: Path) -> Path:
    """Write MovieLens in the form of the latest data sets."""
    ratings = (",".join(map(str, rating)) for rating in RATINGS)
    write_lines(directory / "ratings.csv", ["userId,movieId,rating,timestamp", *ratings])
    movies = (
        f'{movie},"{_titled(title, year)}",{"|".join(kinds) or "(no genres listed)"}'
        for movie, title, year, kinds in MOVIES
    )
    write_lines(directory / "movies.csv", ["movieId,title,genres", *movies])
    return directory


def write_atomic(directory: Path) -> Path:
    """Write MovieLens in RecBole's atomic files."""
    ratings = ("\t".join(map(str, rating)) for rating in RATINGS)
    head = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
    write_lines(directory / "ml.inter", [head, *ratings])
    head = "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token"
    write_lines(directory / "ml.user", [head, *("\t".join(user) for user in USERS)])
    head = "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq"
    movies = ("\t".join([m, title, year, " ".join(kinds)]) for m, title, year, kinds in MOVIES)
    write_lines(directory / "ml.item", [head, *movies])
    return directory


def criteo_line(label: object, counts: Sequence[object] = (), values: Sequence[object] = ()) -> str:
    """Return a row of Criteo's form; counts and values that are not given are missing."""
    padded = [*counts, *[""] * (13 - len(counts)), *values, *[""] * (26 - len(values))]
    return "\t".join(map(str, [label, *padded]))


AVAZU_COLUMNS = (
    *("id", "click", "hour", "C1", "banner_pos", "site_id", "site_domain", "site_category"),
    *("app_id", "app_domain", "app_category", "device_id", "device_ip", "device_model"),
    *("device_type", "device_conn_type", "C14", "C15", "C16", "C17", "C18", "C19", "C20", "C21"),
)


def write_avazu(path: Path, rows: Iterable[dict[str, object]]) -> Path:
    """Write rows of Avazu's form; a column that a row leaves out holds x."""
    lines = (",".join(str(row.get(name, "x")) for name in AVAZU_COLUMNS) for row in rows)
    return write_lines(path, [",".join(AVAZU_COLUMNS), *lines])


def same_classes(ids: npt.NDArray[np.int32], values: Sequence[object]) -> bool:
    """Tell whether two rows have the same id exactly where they have the same value."""
    pairs = set(zip(ids.tolist(), values, strict=True))
    return len(pairs) == len(set(ids.tolist())) == len(set(values))


def _item_100k(movie: tuple[str, str, str, tuple[str, ...]]) -> str:
    number, title, year, kinds = movie
    flags = [str(int(genre in kinds)) for genre in GENRES_100K]
    date = f"01-Jan-{year}" if year else ""
    return "|".join([number, title, date, "", "http://example.org", *flags])


def _titled(title: str, year: str) -> str:
    return f"{title} ({year})" if year else title
