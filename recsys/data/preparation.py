"""From any reader to a click log: split, count vocabularies, encode, write."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recsys.calls import listed
from recsys.data.click_log import SPLITS, ClickLog
from recsys.data.encoding import Counter, Encoder, Encoding, group_numbers
from recsys.data.readers.reader import Categorical, Chunk, Reader
from recsys.data.rows import Bag, Rows
from recsys.data.schema import Schema, SparseFeature
from recsys.data.shuffle import uniforms
from recsys.data.writer import ClickLogWriter, check_free
from recsys.errors import ConfigError, DataError

Codes = npt.NDArray[np.uint8]
Watch = Callable[[str, int], None]
Key = Callable[[Chunk, int], npt.NDArray[np.float64]]


class SplitBy(StrEnum):
    """How rows are assigned to splits."""

    TIME = "time"
    """The last rows in time are tested on, those before them validated on."""
    FRACTION = "fraction"
    """Every row is drawn into a split, independently of the others."""
    FILES = "files"
    """Sources are splits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """The requested split.

    ``by`` None means files if sources are splits, else time if rows have one, else fraction.
    ``valid`` and ``test`` are shares of all rows; 0 leaves a split empty.
    """

    by: SplitBy | None = None
    valid: float = 0.1
    test: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ConfigError for shares without training rows, and for a negative seed."""
        if self.valid < 0 or self.test < 0 or not self.valid + self.test < 1:
            raise ConfigError(
                f"valid {self.valid} and test {self.test}: expected shares of at least 0 and"
                " together less than 1"
            )
        if self.seed < 0:
            raise ConfigError(f"seed {self.seed}: expected at least 0")


class Splitter:
    """Assigns rows to splits; ``expected`` are the splits that must have rows."""

    def __init__(
        self, by: SplitBy, expected: tuple[str, ...], code_of: Callable[[Chunk, int], Codes]
    ) -> None:
        self.by = by
        self.expected = expected
        self._code_of = code_of

    def parts(self, chunk: Chunk, position: int) -> Iterator[tuple[str, npt.NDArray[np.int64]]]:
        """Yield the splits of a chunk, each with the indices of its rows.

        ``position`` is the number of rows in earlier chunks.
        """
        codes = self._code_of(chunk, position)
        for code, split in enumerate(SPLITS):
            rows = np.flatnonzero(codes == code)
            if len(rows):
                yield split, rows


def splitter(reader: Reader, split: Split, watch: Watch) -> Splitter:
    """Return the splitter; a split by time reads the source once to find the boundaries.

    Raises ConfigError for a split that the reader does not support.
    """
    by = split.by or _default(reader)
    if by is SplitBy.FILES:
        return _by_files(reader)
    if by is SplitBy.FRACTION:
        bounds = np.array([1 - split.valid - split.test, 1 - split.test])
        return _by_bounds(by, split, bounds, partial(_draw, split.seed))
    if reader.traits.timed:
        return _by_bounds(by, split, _time_bounds(reader, split, watch), _time)
    if reader.traits.in_time_order:
        length = reader.row_count()
        return _by_bounds(by, split, np.array(_ends(length, split)), _position)
    raise ConfigError(
        "split time: these rows have no time; expected split fraction, or sources for valid and"
        " test"
    )


def _default(reader: Reader) -> SplitBy:
    if reader.traits.split:
        return SplitBy.FILES
    if reader.traits.timed or reader.traits.in_time_order:
        return SplitBy.TIME
    return SplitBy.FRACTION


def _by_files(reader: Reader) -> Splitter:
    if not reader.traits.split:
        raise ConfigError(
            "split files: no source says which split it is; expected --valid-source"
            " or --test-source beside --source"
        )

    def code_of(chunk: Chunk, position: int) -> Codes:
        return np.full(len(chunk), SPLITS.index(chunk.split or "train"), np.uint8)

    return Splitter(SplitBy.FILES, ("train",), code_of)


def _by_bounds(by: SplitBy, split: Split, bounds: npt.NDArray[np.float64], key: Key) -> Splitter:
    """Return a splitter that compares keys of rows with two bounds (inclusive lower bounds)."""

    def code_of(chunk: Chunk, position: int) -> Codes:
        return np.searchsorted(bounds, key(chunk, position), side="right").astype(np.uint8)

    shares = {"train": 1.0, "valid": split.valid, "test": split.test}
    return Splitter(by, tuple(name for name, share in shares.items() if share), code_of)


def _draw(seed: int, chunk: Chunk, position: int) -> npt.NDArray[np.float64]:
    return uniforms(position, position + len(chunk), seed=seed)


def _position(chunk: Chunk, position: int) -> npt.NDArray[np.float64]:
    return np.arange(position, position + len(chunk), dtype=np.float64)


def _time(chunk: Chunk, position: int) -> npt.NDArray[np.float64]:
    if chunk.time is None:
        raise DataError(f"{chunk.origin.at(0)}: has no time, which the reader had promised")
    return chunk.time


def _ends(length: int, split: Split) -> tuple[int, int]:
    """Return the number of rows before valid and before test."""
    tested, validated = round(length * split.test), round(length * split.valid)
    return length - tested - validated, length - tested


def _time_bounds(reader: Reader, split: Split, watch: Watch) -> npt.NDArray[np.float64]:
    """Return the first times of valid and test; rows of equal time are never separated.

    Takes 8 bytes of memory per row.
    """
    times, position = [np.empty(0)], 0
    for chunk in reader.chunks():
        times.append(_time(chunk, position))
        position += len(chunk)
        watch("looking for the times that divide it", position)
    ordered = np.sort(np.concatenate(times))
    return np.array([ordered[end] if end < position else np.inf for end in _ends(position, split)])


@dataclass(frozen=True, kw_only=True, slots=True)
class Encodings:
    """Requested encodings that replace the reader's: for all features, or for some."""

    default: str | None = None
    of_feature: Mapping[str, str] = field(default_factory=dict)

    def of(self, columns: tuple[Categorical, ...]) -> dict[str, Encoding]:
        """Return the encoding of each column; ConfigError for an unknown feature."""
        names = [column.name for column in columns]
        for name in self.of_feature:
            if name not in names:
                raise ConfigError(f"feature {name!r}: expected one of {listed(names)}")
        return {
            column.name: Encoding.parse(
                self.of_feature.get(column.name, self.default or column.encoding)
            )
            for column in columns
        }


def prepare(
    reader: Reader,
    directory: Path | str,
    *,
    split: Split | None = None,
    encodings: Encodings | None = None,
    replace: bool = False,
    watch: Watch = lambda phase, rows: None,
) -> ClickLog:
    """Write the rows of ``reader`` as a click log in ``directory`` and open it.

    The source is read once to write it, once more to count vocabularies, and once more to split it
    by time. ``watch`` is called with the rows done in each. Memory is bounded by a chunk, the
    vocabularies (32 bytes per distinct value) and, for sorting by time, 16 bytes per row. Raises
    DataError and ConfigError, without leaving files.
    """
    check_free(Path(directory), replace=replace)
    split = split or Split()
    chosen = (encodings or Encodings()).of(reader.columns.categorical)
    parts = splitter(reader, split, watch)
    encoders = _encoders(reader, chosen, parts, watch)
    schema = _schema(reader, encoders)
    with ClickLogWriter(directory, schema, replace=replace) as writer:
        for chunk, position in _positioned(reader, watch, "writing"):
            rows = _encode(chunk, position, reader, encoders)
            for name, indices in parts.parts(chunk, position):
                whole = len(indices) == len(chunk)
                time = chunk.time
                writer.append(
                    name,
                    rows if whole else rows.take(indices),
                    time if whole or time is None else time[indices],
                )
        meta = {
            **reader.meta,
            "split": str(parts.by),
            "split_seed": split.seed,
            "encodings": {name: str(encoding) for name, encoding in chosen.items()},
        }
        return writer.finish(meta, expected=parts.expected)


def _positioned(reader: Reader, watch: Watch, phase: str) -> Iterator[tuple[Chunk, int]]:
    """Yield each chunk with the number of rows before it."""
    position = 0
    for chunk in reader.chunks():
        yield chunk, position
        position += len(chunk)
        watch(phase, position)


def _encoders(
    reader: Reader, chosen: Mapping[str, Encoding], parts: Splitter, watch: Watch
) -> dict[str, Encoder]:
    """Return the encoder of each column, counting the training split if needed."""
    columns = reader.columns.categorical
    counters = {name: Counter() for name, encoding in chosen.items() if encoding.counts}
    if counters:
        for chunk, position in _positioned(reader, watch, "counting vocabularies"):
            training = dict(parts.parts(chunk, position)).get("train")
            if training is None:
                continue
            whole = len(training) == len(chunk)
            for column, values in zip(columns, chunk.categorical, strict=True):
                if column.name in counters:
                    kept = values if whole else values.take(pa.array(training))
                    counters[column.name].add(kept.flatten() if column.multi_valued else kept)
    return {name: encoding.encoder(counters.get(name)) for name, encoding in chosen.items()}


def _schema(reader: Reader, encoders: Mapping[str, Encoder]) -> Schema:
    return Schema(
        dense=reader.columns.dense,
        sparse=tuple(
            SparseFeature(
                name=column.name,
                cardinality=encoders[column.name].cardinality,
                multi_valued=column.multi_valued,
            )
            for column in reader.columns.categorical
        ),
        group=reader.columns.group,
    )


def _encode(chunk: Chunk, position: int, reader: Reader, encoders: Mapping[str, Encoder]) -> Rows:
    """Return a chunk as rows of the click log; without a group, each row is its own group."""
    columns = []
    bags = {}
    for column, values in zip(reader.columns.categorical, chunk.categorical, strict=True):
        encoder = encoders[column.name]
        if column.multi_valued:
            bags[column.name] = _bag(column.name, values, encoder, chunk)
        else:
            columns.append(encoder.encode(values, column.name, chunk.origin.at))
    numbers = np.arange(position, position + len(chunk), dtype=np.int64)
    return Rows(
        label=chunk.label,
        dense=chunk.dense,
        ids=np.stack(columns, axis=1) if columns else np.empty((len(chunk), 0), np.int32),
        bags=bags,
        group=numbers if chunk.group is None else group_numbers(chunk.group),
    )


def _bag(name: str, lists: pa.ListArray, encoder: Encoder, chunk: Chunk) -> Bag:
    """Return lists of values as a bag of table rows; a null list is an empty bag."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
    offsets = np.zeros(len(chunk) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    rows = pc.list_parent_indices(lists)
    values = encoder.encode(lists.flatten(), name, lambda i: chunk.origin.at(rows[i].as_py()))
    return Bag(values=values, offsets=offsets)
