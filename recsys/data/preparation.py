"""From any reader to a click log: split, count the vocabularies, encode, write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.calls import listed
from recsys.data.click_log import ClickLog
from recsys.data.encoding import Counter, Encoder, Encoding, group_numbers
from recsys.data.readers.reader import Categorical, Chunk, Reader
from recsys.data.rows import Bag, Rows
from recsys.data.schema import Schema, SparseFeature
from recsys.data.splits import Split, Splitter, Watch, splitter
from recsys.data.writer import ClickLogWriter, check_free
from recsys.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Encodings:
    """What a person asked for instead of a reader's own encodings: for all features, for some."""

    default: str | None = None
    of_feature: Mapping[str, str] = field(default_factory=dict)

    def of(self, columns: tuple[Categorical, ...]) -> dict[str, Encoding]:
        """Return the encoding of each column; ConfigError for a feature that is none of them."""
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
    """Write what ``reader`` reads as a click log in ``directory`` and open it.

    The source is read once to write it, once more where a vocabulary is to be counted, and once
    more to split it by time. ``watch`` hears of the rows done in each of these. Memory is bounded
    by a chunk, the vocabularies (32 bytes per distinct value) and, where rows have to be brought
    into order of time, 16 bytes per row. Raises DataError and ConfigError; then nothing is left.
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
    """Return the encoder of each column, counting the training split where one needs it."""
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
    """Return a chunk as rows of the click log; without a group, each row is one of its own."""
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
