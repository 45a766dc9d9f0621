"""Any CSV or Parquet whose columns a ``TableSchema`` names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from recsys.data.readers.delimited import TextFormat, check_columns, check_file, read_text
from recsys.data.readers.reader import Categorical, Chunk, Columns, Origin, Source, Traits
from recsys.data.readers.request import Request
from recsys.data.readers.sources import Pattern
from recsys.data.readers.table_schema import MultiValuedColumn, TableSchema, TimeColumn
from recsys.data.readers.values import first_failing, labels, numbers, signed_log
from recsys.errors import ConfigError, DataError

PATTERNS = tuple(Pattern(glob=glob) for glob in ("*.csv", "*.csv.gz", "*.tsv", "*.parquet"))

_PARQUET_SUFFIXES = (".parquet", ".pq")
_BATCH_ROWS = 1 << 16


class Tabular:
    """Files of one schema, one after another in the order given."""

    def __init__(
        self, sources: tuple[Source, ...], schema: TableSchema, *, name: str = "tabular"
    ) -> None:
        self._sources = sources
        self._schema = schema
        self._name = name

    @classmethod
    def open(cls, request: Request) -> Tabular:
        """Return the reader of files that ``request.schema`` describes."""
        if request.schema is None:
            raise ConfigError("--schema is missing: tabular needs a YAML file that names columns")
        return cls(request.sources, request.schema)

    @property
    def columns(self) -> Columns:
        """The columns in the order of the schema: dense, categorical, multi-valued."""
        schema = self._schema
        single = [Categorical(name=c.name, encoding=c.encoding) for c in schema.categorical]
        multi = [
            Categorical(name=c.name, encoding=c.encoding, multi_valued=True)
            for c in schema.multi_valued
        ]
        return Columns(
            dense=tuple(column.name for column in schema.dense),
            categorical=(*single, *multi),
            group=schema.group,
        )

    @property
    def traits(self) -> Traits:
        """Timed where the schema names a time."""
        return Traits(timed=self._schema.time is not None, split=self._sources[0].split is not None)

    @property
    def meta(self) -> dict[str, Any]:
        """The names of the files."""
        return {"reader": self._name, "sources": [source.path.name for source in self._sources]}

    def row_count(self) -> int:
        """Return the number of rows."""
        return sum(len(chunk) for chunk in self.chunks())

    def chunks(self) -> Iterator[Chunk]:
        """Yield the rows of all files."""
        for source in self._sources:
            for origin, batch in self._batches(source.path):
                yield self._chunk(source, origin, batch)

    def _batches(self, path: Path) -> Iterator[tuple[Origin, pa.RecordBatch]]:
        if path.suffix in _PARQUET_SUFFIXES:
            return _read_parquet(path, self._schema.names)
        form = TextFormat(delimiter=self._schema.delimiter)
        coded = {column.name for column in self._schema.categorical}
        used_otherwise = {
            self._schema.label,
            self._schema.group,
            self._schema.time.name if self._schema.time else None,
        }
        return read_text(path, form, self._schema.names, coded=coded - used_otherwise)

    def _chunk(self, source: Source, origin: Origin, batch: pa.RecordBatch) -> Chunk:
        schema = self._schema
        dense = np.empty((batch.num_rows, len(schema.dense)), np.float32)
        for number, column in enumerate(schema.dense):
            found = numbers(batch[column.name], column.name, origin, missing=column.missing)
            dense[:, number] = signed_log(found) if column.log else found
        return Chunk(
            origin=origin,
            label=labels(batch[schema.label], schema.label, origin),
            dense=dense,
            categorical=(
                *(_texts(batch[c.name], c.name, origin) for c in schema.categorical),
                *(_lists(batch[c.name], c, origin) for c in schema.multi_valued),
            ),
            group=_texts(batch[schema.group], schema.group, origin) if schema.group else None,
            time=_times(batch[schema.time.name], schema.time, origin) if schema.time else None,
            split=source.split,
        )


def _read_parquet(path: Path, wanted: Sequence[str]) -> Iterator[tuple[Origin, pa.RecordBatch]]:
    """Yield the wanted columns some thousand rows at a time; rows are counted from 1."""
    check_file(path)
    first_row = 1
    try:
        # To pyarrow, a relative path with a colon is a URI.
        with pa.parquet.ParquetFile(path.absolute()) as file:
            check_columns(path, file.schema_arrow.names, wanted)
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=list(wanted)):
                if batch.num_rows:
                    yield Origin(path=path, first_row=first_row), batch
                first_row += batch.num_rows
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path}: not a whole Parquet file ({_one_line(error)})") from None
    if first_row == 1:
        raise DataError(f"{path}: has no rows")


def _texts(column: pa.Array, name: str, origin: Origin) -> pa.Array:
    """Return values of a category as text."""
    if pa.types.is_dictionary(column.type) and pa.types.is_string(column.type.value_type):
        return column
    return _cast(column, pa.string(), name, origin)


def _lists(column: pa.Array, wanted: MultiValuedColumn, origin: Origin) -> pa.Array:
    """Return bags of values as lists of text."""
    listed = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
    if listed:
        return _cast(column, pa.list_(pa.string()), wanted.name, origin)
    if wanted.separator is None:
        raise DataError(
            f"{origin.path}: column {wanted.name} is {column.type}, expected lists;"
            " text needs a separator in the schema"
        )
    return pc.split_pattern(_texts(column, wanted.name, origin), wanted.separator)


def _times(column: pa.Array, wanted: TimeColumn, origin: Origin) -> npt.NDArray[np.float64]:
    """Return times as float64 [n]: microseconds where they are dates, else the numbers given."""
    if wanted.format is not None:
        column = _parsed(column, wanted.format, wanted.name, origin)
    if pa.types.is_temporal(column.type):
        column = _cast(column, pa.timestamp("us"), wanted.name, origin)
        column = pc.cast(column, pa.int64())
    return numbers(column, wanted.name, origin)


def _parsed(column: pa.Array, form: str, name: str, origin: Origin) -> pa.Array:
    """Return text as timestamps."""

    def convert(part: pa.Array) -> pa.Array:
        return pc.strptime(part, format=form, unit="us")

    try:
        return convert(column)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        if not pa.types.is_string(column.type):
            raise DataError(
                f"{origin.path}: column {name} is {column.type}, expected text for its format"
            ) from None
        row = first_failing(convert, column)
        raise DataError(
            f"{origin.at(row)}: {name} is {column[row].as_py()!r}, expected a time like {form}"
        ) from None


def _cast(column: pa.Array, wanted: pa.DataType, name: str, origin: Origin) -> pa.Array:
    try:
        return pc.cast(column, wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise DataError(
            f"{origin.path}: column {name} is {column.type}, expected {wanted}"
        ) from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
