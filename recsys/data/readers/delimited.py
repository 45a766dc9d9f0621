"""Streams delimited text, plain or compressed, as Arrow batches in bounded memory."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from recsys.calls import listed, nearest
from recsys.data.readers.reader import Origin, Source
from recsys.errors import ConfigError, DataError

COMPRESSED = ("", ".gz", ".zst")
"""What the names of text files may end in"""
_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"

Item = TypeVar("Item")


class NoRowsError(DataError):
    """A file without rows, which is fine for one part of a directory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pattern:
    """Files that a reader looks for in a directory (a glob), and the split that they are."""

    glob: str
    split: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Paths:
    """What a person named: with ``valid`` or ``test`` paths, ``train`` is for training alone."""

    train: Sequence[Path] = ()
    valid: Sequence[Path] = ()
    test: Sequence[Path] = ()

    def __bool__(self) -> bool:
        return bool(self.train or self.valid or self.test)


def find_sources(paths: Paths, patterns: Sequence[Pattern]) -> tuple[Source, ...]:
    """Return the sources behind paths; a directory stands for its files that match a pattern.

    Without patterns a directory is a source itself. Raises DataError for a path that is not there
    or a directory without such files, and ConfigError where some sources say which split they are
    and some do not.
    """
    train = "train" if paths.valid or paths.test else None
    found = [
        source
        for split, group in ((train, paths.train), ("valid", paths.valid), ("test", paths.test))
        for path in group
        for source in _expand(path, patterns, split)
    ]
    unnamed = [source for source in found if source.split is None]
    if unnamed and len(unnamed) < len(found):
        raise ConfigError(f"{unnamed[0].path}: which split is it? Others say theirs")
    return tuple(found)


def read_each(
    sources: Sequence[Source], read: Callable[[Source], Iterable[Item]]
) -> Iterator[tuple[Source, Item]]:
    """Yield what ``read`` yields of each source; parts without rows are skipped, unless all are."""
    empty, found = None, False
    for source in sources:
        try:
            for item in read(source):
                found = True
                yield source, item
        except NoRowsError as error:
            if not source.part:
                raise
            empty = error
    if empty and not found:
        raise empty


def _expand(path: Path, patterns: Sequence[Pattern], split: str | None) -> list[Source]:
    try:
        path.stat()
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file or directory") from None
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    if not path.is_dir() or not patterns:
        return [Source(path=path, split=split)]
    found = [
        Source(
            path=file,
            split=split or pattern.split,
            part=True,
            partition=_partition(file.relative_to(path)),
        )
        for pattern in patterns
        for file in sorted(path.glob(pattern.glob))
        if file.is_file() and not _is_hidden(file.relative_to(path))
    ]
    if not found:
        globs = ", ".join(pattern.glob.removeprefix("**/") for pattern in patterns)
        raise DataError(f"{path}: has no file named like {globs}")
    files = {source.path for source in found}
    for file in files:
        if file.suffix in COMPRESSED and (plain := file.with_suffix("")) in files:
            raise DataError(f"{file}: {plain.name} is there too, expected one of them")
    return found


def _is_hidden(file: Path) -> bool:
    """Tell whether Spark and Hive would skip a file, such as those in ``_temporary``."""
    return any(name.startswith((".", "_")) for name in file.parts)


def _partition(file: Path) -> dict[str, str | None]:
    named = (folder.partition("=") for folder in file.parts[:-1] if "=" in folder)
    return {key: None if value == _HIVE_NULL else unquote(value) for key, _, value in named}


_BLOCK_BYTES = 1 << 21  # stays in the cache: larger blocks are slower and take more memory
_COUNTED_BYTES = 1 << 22
_LONGEST_NAME = 1000
_CODECS = ((".gz", b"\x1f\x8b", "gzip"), (".zst", b"\x28\xb5\x2f\xfd", "zstd"))
"""Name, first bytes and Arrow's name of each compression"""


@dataclass(frozen=True, kw_only=True, slots=True)
class TextFormat:
    """How rows are written: ``names`` are the columns, or None where a header names them.

    The delimiter is one character, or one that stands twice (``::``). Fields equal to one of
    ``null_values`` are missing, as empty ones are.
    """

    delimiter: str = ","
    names: tuple[str, ...] | None = None
    quoted: bool = True
    null_values: tuple[str, ...] = ()


def read_text(
    path: Path, form: TextFormat, wanted: Sequence[str], *, coded: Collection[str] = ()
) -> Iterator[tuple[Origin, pa.RecordBatch]]:
    """Yield the ``wanted`` columns as text, some thousand rows at a time; empty fields are null.

    Columns in ``coded`` come dictionary-encoded. Blank lines at the end are no rows. Raises
    DataError for a file that is missing, empty, damaged or cut, for a row with a wrong number of
    columns and for a missing column.
    """
    names = form.names or read_header(path, form)
    check_columns(path if form.names else f"{path}, row 1", names, wanted)
    if len(form.delimiter) == 2:  # to Arrow, an empty column lies between any two
        names = tuple(part for name in names for part in (name, f"after {name}"))[:-1]
    text, code = pa.string(), pa.dictionary(pa.int32(), pa.string())
    first_row = 1 if form.names else 2
    rows = kept = 0
    blank = None
    try:
        with open_bytes(path) as stream:
            batches = pa.csv.open_csv(
                stream,
                # One thread: only then does a parse error tell its row.
                read_options=pa.csv.ReadOptions(
                    column_names=list(names),
                    skip_rows=first_row - 1,
                    block_size=_BLOCK_BYTES,
                    use_threads=False,
                ),
                parse_options=pa.csv.ParseOptions(
                    delimiter=form.delimiter[0],
                    quote_char='"' if form.quoted else False,
                    newlines_in_values=False,
                    ignore_empty_lines=False,
                ),
                convert_options=pa.csv.ConvertOptions(
                    include_columns=list(wanted),
                    column_types={name: code if name in coded else text for name in wanted},
                    strings_can_be_null=True,
                    null_values=["", *form.null_values],
                ),
            )
            for batch in batches:
                origin = Origin(path=path, first_row=first_row + rows)
                rows += batch.num_rows
                filled = _rows_before_blank(batch)
                if filled and blank:
                    raise DataError(f"{blank}: is blank")
                if filled < batch.num_rows:
                    blank = blank or origin.at(filled)
                if form.quoted:
                    _check_quotes(batch, origin)
                if filled:
                    kept += filled
                    yield origin, batch.slice(0, filled)
    except (pa.ArrowInvalid, OSError) as error:
        raise _data_error(path, error, len(form.delimiter)) from None
    if not kept:
        raise NoRowsError(f"{path}: has no rows")


def read_header(path: Path, form: TextFormat) -> tuple[str, ...]:
    """Return the column names in the first row."""
    try:
        with open_bytes(path) as stream:
            line = io.BufferedReader(stream).readline(_BLOCK_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{path}, row 1: not UTF-8 text") from None
    except OSError as error:
        raise _data_error(path, error) from None
    try:
        names = next(csv.reader([line], delimiter=form.delimiter), [])
    except csv.Error as error:
        raise DataError(f"{path}, row 1: not the names of columns ({error})") from None
    if not names:
        raise DataError(f"{path}, row 1: is blank, expected the names of the columns")
    if max(map(len, names)) > _LONGEST_NAME:
        raise DataError(f"{path}, row 1: a column's name has more than {_LONGEST_NAME} characters")
    check_columns(f"{path}, row 1", names, names)
    return tuple(names)


def count_lines(path: Path) -> int:
    """Return the number of rows of a file without a header: its lines up to the last not blank."""
    ends, ends_before_text = 0, -1
    try:
        with open_bytes(path) as stream:
            while block := stream.read(_COUNTED_BYTES):
                text = block.rstrip(b"\r\n")
                if text:
                    ends_before_text = ends + text.count(b"\n")
                ends += block.count(b"\n")
    except OSError as error:
        raise _data_error(path, error) from None
    return ends_before_text + 1


def check_columns(place: Path | str, names: Sequence[str], wanted: Sequence[str]) -> None:
    """Raise DataError if a wanted column is missing, naming the nearest one, or there twice."""
    counts = Counter(names)
    for name in wanted:
        if counts[name] > 1:
            raise DataError(f"{place}: column {name!r} appears twice")
        if name not in counts:
            hint = nearest(name, names) or f", it has {listed(names)}"
            raise DataError(f"{place}: column {name!r} is missing{hint}")


def check_file(path: Path) -> None:
    """Raise DataError unless ``path`` is a file with something in it."""
    try:
        if not path.exists():
            raise DataError(f"{path}: there is no such file")
        if not path.is_file():
            kind = "a directory" if path.is_dir() else "a device or a pipe"
            raise DataError(f"{path}: is {kind}, expected a file")
        if path.stat().st_size == 0:
            raise NoRowsError(f"{path}: is empty")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None


def open_bytes(path: Path) -> pa.NativeFile:
    """Open a file for reading, decompressed if its name or its first bytes say so."""
    check_file(path)
    return pa.input_stream(str(path), compression=_codec(path))


def _codec(path: Path) -> str | None:
    with path.open("rb") as file:
        start = file.read(4)
    by_content = [codec for _, magic, codec in _CODECS if start.startswith(magic)]
    by_name = [codec for suffix, _, codec in _CODECS if path.suffix == suffix]
    return next(iter(by_content + by_name), None)


def _rows_before_blank(batch: pa.RecordBatch) -> int:
    """Return the number of rows without the last ones that are blank, if any are."""
    if not all(column.null_count for column in batch.columns):
        return int(batch.num_rows)
    filled = np.zeros(batch.num_rows, bool)
    for column in batch.columns:
        filled |= column.is_valid().to_numpy(zero_copy_only=False)
    return int(np.flatnonzero(filled)[-1]) + 1 if filled.any() else 0


def _check_quotes(batch: pa.RecordBatch, origin: Origin) -> None:
    """Raise DataError for a value over several lines: most often, a quote is left open."""
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        texts = column.dictionary if pa.types.is_dictionary(column.type) else column
        broken = pc.match_substring(texts, "\n")
        if pc.any(broken).as_py():
            row = pc.index(pc.match_substring(pc.cast(column, pa.string()), "\n"), True).as_py()
            raise DataError(f"{origin.at(row)}: {name} holds a line break; is a quote left open?")


def _data_error(path: Path, error: Exception, delimiter_length: int = 1) -> DataError:
    """Return what Arrow or the system says was wrong, in one line that names the row."""
    text = str(error).splitlines()[0]
    if "Truncated compressed stream" in text:
        return DataError(f"{path}: the {_codec(path)} stream is cut off before its end")
    if "zlib inflate failed" in text:
        return DataError(f"{path}: damaged gzip ({text.partition(': ')[2]})")
    if "ZSTD" in text:
        return DataError(f"{path}: damaged zstd ({text.partition(': ')[2]})")
    if "Could not skip initial" in text or "Empty CSV file" in text:
        return NoRowsError(f"{path}: has no rows")
    if "straddling" in text:
        return DataError(f"{path}: a row is longer than {_BLOCK_BYTES >> 20} MiB")
    if "Row #" in text:
        row, _, rest = text.partition("Row #")[2].partition(": ")
        if "invalid UTF8" in rest:
            return DataError(f"{path}, row {row}: not UTF-8 text")
        expected, found = (
            -(-int(count) // delimiter_length) for count in re.findall(r"\d+", rest)[:2]
        )
        return DataError(f"{path}, row {row}: expected {expected} columns, found {found}")
    if isinstance(error, OSError) and error.strerror:
        return DataError(f"{path}: {error.strerror}")
    return DataError(f"{path}: {text}")
