"""Aligns the rows of several prediction files that may be in different orders.

Rows are partitioned on disk by a hash of their group (or example, without groups), so a part has
whole groups and the same rows of every file. Then one part at a time is sorted and compared. Memory
is bounded by the size of a part, about ``PART_ROWS`` rows of each file or the largest group. Disk
usage is about 40 bytes for each row.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from analysis.errors import ResultsError
from analysis.prediction_files.reading import KEYS, PredictionFile

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

PART_ROWS = 1 << 20
#: Every part of a file is open while it is spilled; systems allow about a thousand files.
MOST_PARTS = 400


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """The same n examples in each of M files, as whole groups.

    ``labels`` and ``weights`` ``(n,)`` and ``predictions`` ``(M, n)`` are float64; ``codes``
    ``(n,)`` are the numbers of the ``groups`` groups. Without groups, each example is its own
    group.
    """

    labels: Floats
    weights: Floats
    predictions: Floats
    codes: Integers
    groups: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Spilled:
    """Checked files, partitioned on disk.

    ``examples`` is the number of rows of each; ``base_rate`` the weighted share of positives;
    ``resolution`` the coarsest machine epsilon of their predictions.
    """

    files: tuple[PredictionFile, ...]
    directory: Path
    parts: int
    examples: int
    base_rate: float
    resolution: float

    @property
    def is_grouped(self) -> bool:
        """Whether the files have groups."""
        return "group" in self.files[0].columns

    def rows(self) -> Iterator[Rows]:
        """Yield the non-empty parts.

        Raises:
            ResultsError: an example is missing in a file, occurs twice, or differs in label or
                weight.
        """
        for part in range(self.parts):
            tables = [
                _sorted(_read(_part_path(self.directory, number, part)), self.is_grouped)
                for number in range(len(self.files))
            ]
            for file, table in zip(self.files, tables, strict=True):
                _refuse_duplicates(file, table)
            for file, table in zip(self.files[1:], tables[1:], strict=True):
                _refuse_differences(self.files[0], tables[0], file, table)
            if len(tables[0]):
                yield _rows(tables, self.is_grouped)


@contextmanager
def spilled(files: Sequence[PredictionFile], *, scratch: Path | None = None) -> Iterator[Spilled]:
    """Check the files row by row and partition them, in a temporary directory in ``scratch``.

    Raises:
        ResultsError: a row is invalid, the files' columns do not match, or all weights are 0.
    """
    _refuse_different_columns(files)
    most_rows = max(file.most_rows for file in files)
    parts = min(-(-most_rows // PART_ROWS), MOST_PARTS)
    with tempfile.TemporaryDirectory(prefix="soloist-compare-", dir=scratch) as name:
        directory = Path(name)
        tallies = [_spill(file, number, directory, parts) for number, file in enumerate(files)]
        types = {file.path: tally.types for file, tally in zip(files, tallies, strict=True)}
        _refuse_different_types(types)
        first = tallies[0]
        if first.weight <= 0:
            raise ResultsError(f"{files[0].path}: all weights are 0, expected one above 0")
        yield Spilled(
            files=tuple(files),
            directory=directory,
            parts=parts,
            examples=first.rows,
            base_rate=first.positive / first.weight,
            resolution=max(tally.resolution for tally in tallies),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Tally:
    rows: int
    positive: float
    weight: float
    resolution: float
    types: dict[str, pa.DataType]


def _spill(file: PredictionFile, number: int, directory: Path, parts: int) -> _Tally:
    """Write a file's rows to its parts and count them."""
    rows, positive, weight = 0, 0.0, 0.0
    schema: pa.Schema | None = None
    with ExitStack() as stack:
        writers: list[pa.ipc.RecordBatchStreamWriter] = []
        for table in file.batches():
            if schema is None:
                schema = table.schema
                writers = [
                    stack.enter_context(
                        pa.ipc.new_stream(str(_part_path(directory, number, part)), schema)
                    )
                    for part in range(parts)
                ]
            elif table.schema != schema:
                raise ResultsError(f"{file.path}: its columns change type within the file")
            for writer, piece in zip(writers, _pieces(table, parts), strict=True):
                if len(piece):
                    writer.write_table(piece)
            labels, weights = _column(table, "label"), _weights(table)
            rows += len(table)
            positive += float(labels @ weights)
            weight += float(weights.sum())
    assert schema is not None
    dtype = schema.field("prediction").type.to_pandas_dtype()
    return _Tally(
        rows=rows,
        positive=positive,
        weight=weight,
        resolution=float(np.finfo(dtype).eps),
        types={name: schema.field(name).type for name in KEYS if name in schema.names},
    )


def _pieces(table: pa.Table, parts: int) -> Iterator[pa.Table]:
    """Partition a table by the hash of its keys, in stable order."""
    if parts == 1:
        yield table
        return
    key = "group" if "group" in table.column_names else "example"
    values = table.column(key).to_pandas().to_numpy()
    part = (pd.util.hash_array(values, categorize=False) % np.uint64(parts)).astype(np.uint16)
    cut = table.take(pa.array(np.argsort(part, kind="stable")))
    ends = np.cumsum(np.bincount(part, minlength=parts))
    for start, end in zip(ends - np.diff(ends, prepend=0), ends, strict=True):
        yield cut.slice(start, end - start)


def _part_path(directory: Path, number: int, part: int) -> Path:
    return directory / f"{number}-{part}.arrow"


def _read(path: Path) -> pa.Table:
    with pa.OSFile(str(path)) as source, pa.ipc.open_stream(source) as reader:
        return reader.read_all().combine_chunks()


def _sorted(table: pa.Table, is_grouped: bool) -> pa.Table:
    keys = ("group", "example") if is_grouped else ("example",)
    return table.sort_by([(key, "ascending") for key in keys])


def _rows(tables: Sequence[pa.Table], is_grouped: bool) -> Rows:
    first = tables[0]
    count = len(first)
    opens = np.ones(count, bool)
    if is_grouped:
        opens[1:] = _differs(first.column("group"))
    codes = np.cumsum(opens) - 1
    return Rows(
        labels=_column(first, "label"),
        weights=_weights(first),
        predictions=np.stack([_column(table, "prediction") for table in tables]),
        codes=codes,
        groups=int(codes[-1]) + 1,
    )


def _refuse_duplicates(file: PredictionFile, table: pa.Table) -> None:
    same = np.ones(max(len(table) - 1, 0), bool)
    for key in KEYS:
        if key in table.column_names:
            same &= ~_differs(table.column(key))
    if same.any():
        index = int(np.argmax(same))
        earlier, later = sorted(table.column("row").slice(index, 2).to_pylist())
        raise ResultsError(
            f"{file.place(later)}: {_name(table, index)} occurs twice, first in"
            f" {file.place(earlier).rpartition(': ')[2]}; expected one row per example"
        )


def _refuse_differences(
    file: PredictionFile, ours: pa.Table, other: PredictionFile, theirs: pa.Table
) -> None:
    """Raise ResultsError if two sorted parts differ in examples, labels or weights."""
    common = min(len(ours), len(theirs))
    keys = [key for key in KEYS if key in ours.column_names]
    apart = np.zeros(common, bool)
    for key in keys:
        apart |= _unequal(ours.column(key), theirs.column(key), common)
    if apart.any() or len(ours) != len(theirs):
        index = int(np.argmax(apart)) if apart.any() else common
        ours_first = index < len(ours) and (
            index >= len(theirs) or _key(ours, index) < _key(theirs, index)
        )
        (has, table), (lacks, _) = (
            ((file, ours), (other, theirs)) if ours_first else ((other, theirs), (file, ours))
        )
        row = table.column("row")[index].as_py()
        raise ResultsError(
            f"{has.place(row)}: {_name(table, index)} is not in {lacks.path};"
            " expected the same examples in every file"
        )
    for name in ("label", "weight"):
        if name in ours.column_names:
            unequal = _unequal(ours.column(name), theirs.column(name), common)
            if unequal.any():
                index = int(np.argmax(unequal))
                found, known = (table.column(name)[index].as_py() for table in (theirs, ours))
                raise ResultsError(
                    f"{other.place(theirs.column('row')[index].as_py())}: {name} of"
                    f" {_name(theirs, index)} is {found:g}, but {known:g} in {file.path}"
                )


def _refuse_different_columns(files: Sequence[PredictionFile]) -> None:
    first = files[0]
    for file in files[1:]:
        for name in sorted(set(file.columns) ^ set(first.columns)):
            has, lacks = (file, first) if name in file.columns else (first, file)
            raise ResultsError(
                f"{lacks.path}: has no column {name}, which {has.path} has;"
                " expected it in every file or in none"
            )


def _refuse_different_types(types: dict[Path, dict[str, pa.DataType]]) -> None:
    (first, expected), *others = types.items()
    for path, found in others:
        for name, kind in found.items():
            if kind != expected[name]:
                raise ResultsError(
                    f"{path}: column {name} holds {kind}, but {expected[name]} in {first}"
                )


def _differs(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Return for each value but the first whether it differs from the previous, ``(n - 1,)``."""
    values = column.to_pandas().to_numpy()
    return np.asarray(values[1:] != values[:-1], bool)


def _unequal(ours: pa.ChunkedArray, theirs: pa.ChunkedArray, count: int) -> NDArray[np.bool_]:
    one, other = (column.slice(0, count).to_pandas().to_numpy() for column in (ours, theirs))
    return np.asarray(one != other, bool)


def _key(table: pa.Table, index: int) -> tuple[object, ...]:
    """Return the sort key of the table."""
    names = [name for name in ("group", "example") if name in table.column_names]
    return tuple(table.column(name)[index].as_py() for name in names)


def _name(table: pa.Table, index: int) -> str:
    example = f"example {table.column('example')[index].as_py()}"
    if "group" not in table.column_names:
        return example
    return f"{example} of group {table.column('group')[index].as_py()}"


def _column(table: pa.Table, name: str) -> Floats:
    return np.asarray(table.column(name).to_numpy(), np.float64)


def _weights(table: pa.Table) -> Floats:
    return _column(table, "weight") if "weight" in table.column_names else np.ones(len(table))
