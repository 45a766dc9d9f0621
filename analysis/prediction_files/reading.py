"""Reads a prediction file in validated batches; the first invalid row raises one error."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from analysis.errors import ResultsError
from analysis.text import listed

NEEDED = ("example", "label", "prediction")
OPTIONAL = ("group", "weight")
KEYS = ("example", "group")
BATCH_ROWS = 1 << 18
CSV_BLOCK_BYTES = 1 << 23
#: A row of CSV has three columns of at least a character and their separators.
SHORTEST_CSV_ROW = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictionFile:
    """A file with columns ``example``, ``label``, ``prediction``, ``group``, ``weight``.

    ``types`` maps the present columns to the type they are cast to, or None if that is impossible;
    ``most_rows`` is an upper bound of its rows.
    """

    path: Path
    types: Mapping[str, pa.DataType | None]
    most_rows: int

    @property
    def columns(self) -> tuple[str, ...]:
        """The present columns."""
        return tuple(self.types)

    def place(self, index: int) -> str:
        """Return the location of a row (index from 0) for a message."""
        if _is_csv(self.path):
            return f"{self.path}: line {index + 2}"
        return f"{self.path}: row {index + 1}"

    def batches(self) -> Iterator[pa.Table]:
        """Yield the rows in order, with ``row``, their index from 0.

        Keys are int64, uint64 or string; label and weight float64; prediction float32 or float64.

        Raises:
            ResultsError: a missing value, a label other than 0 or 1, a prediction outside [0, 1],
                or a negative or infinite weight; or the file is empty or damaged.
        """
        start = 0
        try:
            for batch in self._raw_batches():
                table = self._typed(batch)
                self._check(table, start)
                rows = np.arange(start, start + len(table))
                start += len(table)
                yield table.append_column("row", pa.array(rows))
        except (pa.ArrowException, OSError) as error:
            raise ResultsError(f"{self.path}: {_first_line(error)}") from None
        if start == 0:
            raise ResultsError(f"{self.path}: has no rows, expected one per example")

    def _raw_batches(self) -> Iterator[pa.RecordBatch]:
        if _is_csv(self.path):
            yield from _open_csv(self.path, self.types)
        else:
            with _open_parquet(self.path) as file:
                yield from file.iter_batches(BATCH_ROWS, columns=list(self.columns))

    def _typed(self, batch: pa.RecordBatch) -> pa.Table:
        arrays = {}
        for name in self.columns:
            array, kind = batch.column(name), self.types[name]
            if kind is None:
                expected = "integers or strings" if name in KEYS else "numbers"
                raise ResultsError(
                    f"{self.path}: column {name} holds {array.type!s:.80}, expected {expected}"
                )
            arrays[name] = array.cast(kind)
        return pa.table(arrays)

    def _check(self, table: pa.Table, start: int) -> None:
        for name in self.columns:
            column = table.column(name)
            if column.null_count:
                index = start + pc.index(pc.is_null(column), True).as_py()
                raise ResultsError(f"{self.place(index)}: {name} is missing")
        self._refuse(table, start, "label", "0 or 1")
        self._refuse(table, start, "prediction", "a probability from 0 to 1")
        if "weight" in self.columns:
            self._refuse(table, start, "weight", "a finite weight of 0 or more")

    def _refuse(self, table: pa.Table, start: int, name: str, expected: str) -> None:
        values = table.column(name).to_numpy()
        good = _GOOD[name](values)
        if not good.all():
            index = int(np.argmin(good))
            raise ResultsError(
                f"{self.place(start + index)}: {name} is {values[index]:g}, expected {expected}"
            )


def open_predictions(path: Path) -> PredictionFile:
    """Inspect a file's columns and size; ``.csv`` is CSV, everything else Parquet.

    Raises:
        ResultsError: it is missing, unreadable or lacks a column.
    """
    if path.is_dir():
        raise ResultsError(f"{path}: a directory, expected a file of predictions in Parquet or CSV")
    if not path.is_file():
        raise ResultsError(f"{path}: no such file, expected predictions in Parquet or CSV")
    try:
        if _is_csv(path):
            names = csv.open_csv(path).schema.names
            most_rows = _text_bytes(path) // SHORTEST_CSV_ROW + 1
        else:
            with _open_parquet(path) as file:
                schema, names = file.schema_arrow, file.schema_arrow.names
                most_rows = file.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        raise ResultsError(f"{path}: {_first_line(error)}, expected Parquet or CSV") from None
    missing = [name for name in NEEDED if name not in names]
    if missing:
        raise ResultsError(f"{path}: has no column {missing[0]}, found {listed(names)}")
    columns = [name for name in (*NEEDED, *OPTIONAL) if name in names]
    for name in columns:
        if names.count(name) > 1:
            raise ResultsError(f"{path}: column {name} appears twice")
    types = {
        name: _csv_type(path, name) if _is_csv(path) else _kind(name, schema.field(name).type)
        for name in columns
    }
    return PredictionFile(path=path, types=types, most_rows=most_rows)


def with_common_keys(files: Sequence[PredictionFile]) -> list[PredictionFile]:
    """Return the files with comparable key types.

    Integers become unsigned if one file's are; CSV keys become strings if another file's are.
    """
    files = list(files)
    for name in KEYS:
        kinds = {file.types[name] for file in files if name in file.types}
        for number, file in enumerate(files):
            if name not in file.types or None in kinds:
                continue
            common = pa.uint64() if pa.uint64() in kinds else pa.int64()
            if pa.string() in kinds:
                common = pa.string() if _is_csv(file.path) else file.types[name]
            files[number] = replace(file, types={**file.types, name: common})
    return files


def _is_probability(values: NDArray[np.floating]) -> NDArray[np.bool_]:
    return (values >= 0.0) & (values <= 1.0)


def _is_label(values: NDArray[np.floating]) -> NDArray[np.bool_]:
    return (values == 0.0) | (values == 1.0)


def _is_weight(values: NDArray[np.floating]) -> NDArray[np.bool_]:
    return (values >= 0.0) & np.isfinite(values)


_GOOD = {"prediction": _is_probability, "label": _is_label, "weight": _is_weight}


def _kind(name: str, found: pa.DataType) -> pa.DataType | None:
    """Return the target type of a Parquet column, None if it cannot be cast."""
    if pa.types.is_dictionary(found):
        found = found.value_type
    if name in KEYS:
        if pa.types.is_integer(found):
            return pa.uint64() if pa.types.is_uint64(found) else pa.int64()
        unfit = pa.types.is_floating(found) or pa.types.is_nested(found)
        return None if unfit or pa.types.is_boolean(found) else pa.string()
    if name == "prediction" and pa.types.is_float32(found):
        return pa.float32()
    numeric = (pa.types.is_floating, pa.types.is_integer, pa.types.is_boolean, pa.types.is_decimal)
    return pa.float64() if any(fits(found) for fits in numeric) else None


def _csv_type(path: Path, name: str) -> pa.DataType:
    """Return the first type that fits a column's values in the first block of the file."""
    others = (pa.float64(), pa.bool_()) if name == "label" else (pa.float64(),)
    kinds = (pa.int64(), pa.uint64(), pa.string()) if name in KEYS else others
    for kind in kinds:
        with suppress(pa.ArrowException, OSError):
            _open_csv(path, {name: kind})
            return kind
    return kinds[0]


def _open_csv(path: Path, types: Mapping[str, pa.DataType | None]) -> csv.CSVStreamingReader:
    # Threads would lose the number of the row that a message names.
    return csv.open_csv(
        path,
        read_options=csv.ReadOptions(use_threads=False, block_size=CSV_BLOCK_BYTES),
        convert_options=csv.ConvertOptions(include_columns=list(types), column_types=dict(types)),
    )


def _open_parquet(path: Path) -> pq.ParquetFile:
    return pq.ParquetFile(path.absolute())  # to pyarrow, a relative path with a colon is a URI


def _is_csv(path: Path) -> bool:
    """Return whether a file is CSV, possibly compressed (Arrow decompresses by file name)."""
    return re.search(r"\.csv(\.gz|\.zst)?$", path.name.lower()) is not None


def _text_bytes(path: Path) -> int:
    """Return the length of a text file; estimated if compressed."""
    ratio = 1 if path.suffix.lower() == ".csv" else 20
    return path.stat().st_size * ratio


def _first_line(error: Exception) -> str:
    return f"{str(error).splitlines()[0]:.300}"
