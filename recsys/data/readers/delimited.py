"""Streams delimited text, plain or gzip, as Arrow batches in bounded memory."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from recsys.calls import listed, nearest
from recsys.data.readers.reader import Origin
from recsys.errors import DataError

_BLOCK_BYTES = 1 << 21  # stays in the cache: larger blocks are slower and take more memory
_COUNTED_BYTES = 1 << 22
_GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True, kw_only=True, slots=True)
class TextFormat:
    """How rows are written: ``names`` are the columns, or None where a header names them.

    The delimiter is one character, or one that stands twice (``::``).
    """

    delimiter: str = ","
    names: tuple[str, ...] | None = None
    quoted: bool = True


def read_text(
    path: Path, form: TextFormat, wanted: Sequence[str], *, coded: Collection[str] = ()
) -> Iterator[tuple[Origin, pa.RecordBatch]]:
    """Yield the ``wanted`` columns as text, some thousand rows at a time; empty fields are null.

    Columns in ``coded`` come dictionary-encoded. Raises DataError for a file that is missing,
    empty, damaged or cut, for a row with a wrong number of columns and for a missing column.
    """
    names = form.names or read_header(path, form)
    check_columns(path, names, wanted)
    if len(form.delimiter) == 2:  # to Arrow, an empty column lies between any two
        names = tuple(part for name in names for part in (name, f"after {name}"))[:-1]
    text, code = pa.string(), pa.dictionary(pa.int32(), pa.string())
    first_row = 1 if form.names else 2
    rows = 0
    try:
        with _open(path) as stream:
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
                    null_values=[""],
                ),
            )
            for batch in batches:
                origin = Origin(path=path, first_row=first_row + rows)
                if form.quoted:
                    _check_quotes(batch, origin)
                if batch.num_rows:
                    yield origin, batch
                rows += batch.num_rows
    except (pa.ArrowInvalid, OSError) as error:
        raise _data_error(path, error, len(form.delimiter)) from None
    if rows == 0:
        raise DataError(f"{path}: has no rows")


def read_header(path: Path, form: TextFormat) -> tuple[str, ...]:
    """Return the column names in the first row."""
    try:
        with _open(path) as stream:
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
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path}, row 1: column {twice[0]!r} appears twice")
    return tuple(names)


def count_lines(path: Path) -> int:
    """Return the number of rows of a file without a header, by its line ends."""
    lines, last = 0, b"\n"
    try:
        with _open(path) as stream:
            while block := stream.read(_COUNTED_BYTES):
                lines += block.count(b"\n")
                last = block[-1:]
    except OSError as error:
        raise _data_error(path, error) from None
    return lines + (last != b"\n")


def check_columns(path: Path, names: Sequence[str], wanted: Sequence[str]) -> None:
    """Raise DataError if a wanted column is missing, naming the nearest one that is there."""
    for name in wanted:
        if name not in names:
            hint = nearest(name, names) or f", it has {listed(names)}"
            raise DataError(f"{path}: column {name!r} is missing{hint}")


def check_file(path: Path) -> None:
    """Raise DataError unless ``path`` is a file with something in it."""
    try:
        if not path.exists():
            raise DataError(f"{path}: there is no such file")
        if path.is_dir():
            raise DataError(f"{path}: is a directory, expected a file")
        if path.stat().st_size == 0:
            raise DataError(f"{path}: is empty")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None


def _open(path: Path) -> pa.NativeFile:
    """Open a file for reading, through gzip if its name or its first bytes say so."""
    check_file(path)
    with path.open("rb") as file:
        packed = file.read(2) == _GZIP_MAGIC or path.suffix == ".gz"
    return pa.input_stream(str(path), compression="gzip" if packed else None)


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
        return DataError(f"{path}: the gzip stream is cut off before its end")
    if "zlib inflate failed" in text:
        return DataError(f"{path}: damaged gzip ({text.partition(': ')[2]})")
    if "Could not skip initial" in text:
        return DataError(f"{path}: has no rows")
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
