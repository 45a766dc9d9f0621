"""Reads a prediction file in batches, each checked: the first bad row ends it in one line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
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
    """A file with a row an example: ``example``, ``label``, ``prediction``, ``group``, ``weight``.

    ``columns`` are those of these that it has; ``most_rows`` bounds its rows from above.
    """

    path: Path
    columns: tuple[str, ...]
    most_rows: int

    def place(self, index: int) -> str:
        """Return how a person finds the row of this index, counted from 0."""
        if _is_csv(self.path):
            return f"{self.path}: line {index + 2}"
        return f"{self.path}: row {index + 1}"

    def batches(self) -> Iterator[pa.Table]:
        """Yield the rows in order, with the column ``row``: their index from 0.

        Keys are int64 or string; label and weight float64, prediction float32 or float64.

        Raises:
            ResultsError: a row has a missing value, a label other than 0 or 1, a prediction outside
                [0, 1] or a weight that is negative or infinite; or the file is empty or broken.
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
            raise ResultsError(f"{self.path}: has no rows, expected one an example")

    def _raw_batches(self) -> Iterator[pa.RecordBatch]:
        if _is_csv(self.path):
            yield from _open_csv(self.path, self.columns)
        else:
            with _open_parquet(self.path) as file:
                yield from file.iter_batches(BATCH_ROWS, columns=list(self.columns))

    def _typed(self, batch: pa.RecordBatch) -> pa.Table:
        arrays = {}
        for name in self.columns:
            array = batch.column(name)
            kind = _kind(name, array.type)
            if kind is None:
                expected = "integers or strings" if name in KEYS else "numbers"
                raise ResultsError(
                    f"{self.path}: column {name} holds {array.type}, expected {expected}"
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
    """Look at a file's columns and size; ``.csv`` is CSV, anything else Parquet.

    Raises:
        ResultsError: it is not there, cannot be read, or lacks a column.
    """
    if path.is_dir():
        raise ResultsError(f"{path}: a directory, expected a file of predictions in Parquet or CSV")
    if not path.is_file():
        raise ResultsError(f"{path}: no such file, expected predictions in Parquet or CSV")
    try:
        if _is_csv(path):
            names = csv.open_csv(path).schema.names
            most_rows = path.stat().st_size // SHORTEST_CSV_ROW + 1
        else:
            with _open_parquet(path) as file:
                names, most_rows = file.schema_arrow.names, file.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        raise ResultsError(f"{path}: {_first_line(error)}, expected Parquet or CSV") from None
    missing = [name for name in NEEDED if name not in names]
    if missing:
        raise ResultsError(f"{path}: has no column {missing[0]}, found {listed(names)}")
    columns = tuple(name for name in (*NEEDED, *OPTIONAL) if name in names)
    return PredictionFile(path=path, columns=columns, most_rows=most_rows)


def _is_probability(values: NDArray[np.floating]) -> NDArray[np.bool_]:
    return (values >= 0.0) & (values <= 1.0)


def _is_label(values: NDArray[np.floating]) -> NDArray[np.bool_]:
    return (values == 0.0) | (values == 1.0)


def _is_weight(values: NDArray[np.floating]) -> NDArray[np.bool_]:
    return (values >= 0.0) & np.isfinite(values)


_GOOD = {"prediction": _is_probability, "label": _is_label, "weight": _is_weight}


def _kind(name: str, found: pa.DataType) -> pa.DataType | None:
    """Return the type that a column is brought to, None if it cannot be."""
    if pa.types.is_dictionary(found):
        found = found.value_type
    if name in KEYS:
        if pa.types.is_integer(found):
            return pa.int64()
        texts = pa.types.is_string(found) or pa.types.is_large_string(found)
        return pa.string() if texts else None
    if name == "prediction" and pa.types.is_float32(found):
        return pa.float32()
    numeric = pa.types.is_floating(found) or pa.types.is_integer(found)
    return pa.float64() if numeric or pa.types.is_boolean(found) else None


def _open_csv(path: Path, columns: tuple[str, ...]) -> csv.CSVStreamingReader:
    # Threads would lose the number of the row that a message names.
    return csv.open_csv(
        path,
        read_options=csv.ReadOptions(use_threads=False, block_size=CSV_BLOCK_BYTES),
        convert_options=csv.ConvertOptions(
            include_columns=list(columns),
            column_types={name: pa.float64() for name in columns if name not in KEYS},
        ),
    )


def _open_parquet(path: Path) -> pq.ParquetFile:
    return pq.ParquetFile(path.absolute())  # to pyarrow, a relative path with a colon is a URI


def _is_csv(path: Path) -> bool:
    return path.suffix.lower() == ".csv"


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
