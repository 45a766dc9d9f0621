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

from recsys.data.encoding import CODED
from recsys.data.readers.delimited import (
    COMPRESSED,
    NoRowsError,
    Pattern,
    TextFormat,
    check_columns,
    check_file,
    read_each,
    read_text,
)
from recsys.data.readers.reader import Categorical, Chunk, Columns, Origin, Source, Traits
from recsys.data.readers.request import Request
from recsys.data.readers.table_schema import MultiValuedColumn, TableSchema
from recsys.data.readers.times import Clock
from recsys.data.readers.values import (
    cast,
    labels,
    numbers,
    signed_log,
    texts,
    with_words,
)
from recsys.errors import ConfigError, DataError

_PARQUET_SUFFIXES = (".parquet", ".pq")
PATTERNS = tuple(
    Pattern(glob=f"**/*{suffix}")
    for suffix in (
        *(f"{kind}{packed}" for kind in (".csv", ".tsv") for packed in COMPRESSED),
        *_PARQUET_SUFFIXES,
    )
)

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
        clock = Clock(self._schema.time) if self._schema.time else None
        for source, (origin, batch) in read_each(self._sources, self._batches):
            yield self._chunk(source, origin, batch, clock)

    def _batches(self, source: Source) -> Iterator[tuple[Origin, pa.RecordBatch]]:
        schema = self._schema
        given = [name for name in schema.names if name in source.partition]
        wanted = [name for name in schema.names if name not in given]
        for origin, batch in self._file_batches(source.path, wanted):
            columns = dict(zip(batch.schema.names, batch.columns, strict=True))
            for name in given:
                value = pa.scalar(source.partition[name], pa.string())
                columns[name] = pa.repeat(value, batch.num_rows)
            yield origin, pa.record_batch(columns)

    def _file_batches(
        self, path: Path, wanted: Sequence[str]
    ) -> Iterator[tuple[Origin, pa.RecordBatch]]:
        if path.suffix in _PARQUET_SUFFIXES:
            return _read_parquet(path, wanted)
        schema = self._schema
        form = TextFormat(
            delimiter=schema.delimiter, names=schema.header, null_values=schema.null_values
        )
        coded = {column.name for column in schema.categorical}
        used_otherwise = {schema.group, schema.time.name if schema.time else None}
        return read_text(path, form, wanted, coded=coded - used_otherwise)

    def _chunk(
        self, source: Source, origin: Origin, batch: pa.RecordBatch, clock: Clock | None
    ) -> Chunk:
        schema = self._schema
        dense = np.empty((batch.num_rows, len(schema.dense)), np.float32)
        for number, column in enumerate(schema.dense):
            found = numbers(
                with_words(batch[column.name], schema.true_values, schema.false_values),
                column.name,
                origin,
                missing=column.missing,
                hint="; missing: 0 in the schema would take it for 0",
            )
            dense[:, number] = signed_log(found) if column.log else found
        clicks = with_words(batch[schema.label], schema.true_values, schema.false_values)
        return Chunk(
            origin=origin,
            label=labels(clicks, schema.label, origin),
            dense=dense,
            categorical=(
                *(_categories(batch[c.name], c.name, origin) for c in schema.categorical),
                *(_lists(batch[c.name], c, origin) for c in schema.multi_valued),
            ),
            group=texts(batch[schema.group], schema.group, origin) if schema.group else None,
            time=clock.read(batch, origin) if clock else None,
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
                batch.validate(full=True)  # of UTF-8 and indices, which Parquet may hold unchecked
                if batch.num_rows:
                    yield Origin(path=path, first_row=first_row), batch
                first_row += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a whole Parquet file ({_one_line(error)})") from None
    if first_row == 1:
        raise NoRowsError(f"{path}: has no rows")


def _categories(column: pa.Array, name: str, origin: Origin) -> pa.Array:
    return column if column.type == CODED else texts(column, name, origin)


def _lists(column: pa.Array, wanted: MultiValuedColumn, origin: Origin) -> pa.Array:
    """Return bags of values as lists of text; a list without values has none that is empty."""
    if not pa.types.is_nested(column.type) and not pa.types.is_null(column.type):
        if wanted.separator is None:
            raise DataError(
                f"{origin.path}: column {wanted.name} is {column.type}, expected lists;"
                " text needs a separator in the schema"
            )
        return _split(texts(column, wanted.name, origin), wanted.separator)
    if getattr(column.type, "value_type", None) is None:
        return cast(column, pa.list_(pa.string()), wanted.name, origin)
    listed = cast(column, pa.list_(column.type.value_type), wanted.name, origin)
    return _like(listed, texts(listed.flatten(), wanted.name, origin))


def _split(column: pa.Array, separator: str) -> pa.Array:
    """Return the parts of text that are not empty, as lists.

    Brackets around the whole are taken off, and then blanks and quotes around each part.
    """
    bracketed = pc.match_substring_regex(column, r"^\s*\[.*\]\s*$")
    bare = pc.utf8_slice_codeunits(pc.utf8_trim_whitespace(column), 1, -1)
    lists = pc.split_pattern(pc.if_else(bracketed, bare, column), separator)
    parts, rows = lists.flatten(), pc.list_parent_indices(lists)
    parts = pc.if_else(bracketed.take(rows), pc.utf8_trim(parts, " \t'\""), parts)
    kept = pc.not_equal(parts, "")
    counts = np.bincount(rows.filter(kept), minlength=len(column))
    return pa.ListArray.from_arrays(_offsets(counts), parts.filter(kept))


def _like(lists: pa.ListArray, values: pa.Array) -> pa.Array:
    """Return other values in lists of the same lengths, null lists being empty."""
    counts = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
    return pa.ListArray.from_arrays(_offsets(counts), values)


def _offsets(counts: npt.NDArray[np.int_]) -> pa.Array:
    return pa.array(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
