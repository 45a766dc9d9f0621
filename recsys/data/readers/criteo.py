"""Criteo's display advertising logs: tab-separated, no header, in the order of time.

40 columns: the label, 13 integers I1 to I13 and 26 categoricals C1 to C26; an empty field is
missing. A numerical x becomes ``sign(x) ln(1 + |x|)``, which keeps the few negative values apart
from 0 and is defined for all; a missing one becomes 0, as if the count were 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recsys.data.readers.delimited import (
    COMPRESSED,
    Pattern,
    TextFormat,
    count_lines,
    read_each,
    read_text,
)
from recsys.data.readers.reader import Categorical, Chunk, Columns, Origin, Source, Traits
from recsys.data.readers.request import Request
from recsys.data.readers.values import labels, numbers, signed_log

NUMERICAL = tuple(f"I{i}" for i in range(1, 14))
CATEGORICAL = tuple(f"C{i}" for i in range(1, 27))
PATTERNS = (
    Pattern(glob="train.txt*"),
    Pattern(glob="day_*"),
    *(Pattern(glob=f"*.tsv{packed}") for packed in COMPRESSED),
)

_COLUMNS = ("label", *NUMERICAL, *CATEGORICAL)
_FORM = TextFormat(delimiter="\t", names=_COLUMNS, quoted=False)


class Criteo:
    """Files one after another, in the order given; there is no group."""

    def __init__(self, sources: tuple[Source, ...]) -> None:
        self._sources = sources

    @classmethod
    def open(cls, request: Request) -> Criteo:
        """Return the reader of the files that are asked for."""
        return cls(request.sources)

    @property
    def columns(self) -> Columns:
        """I1 to I13 and C1 to C26, these hashed into tables of 100,000 rows."""
        return Columns(
            dense=NUMERICAL,
            categorical=tuple(
                Categorical(name=name, encoding="hash:100000") for name in CATEGORICAL
            ),
        )

    @property
    def traits(self) -> Traits:
        """Rows tell time by their order alone."""
        return Traits(in_time_order=True, split=self._sources[0].split is not None)

    @property
    def meta(self) -> dict[str, Any]:
        """The names of the files."""
        return {"reader": "criteo", "sources": [source.path.name for source in self._sources]}

    def row_count(self) -> int:
        """Return the number of lines: far cheaper than reading the rows."""
        return sum(n for _, n in read_each(self._sources, lambda each: [count_lines(each.path)]))

    def chunks(self) -> Iterator[Chunk]:
        """Yield the rows of all files."""

        def read(source: Source) -> Iterator[tuple[Origin, pa.RecordBatch]]:
            return read_text(source.path, _FORM, _COLUMNS, coded=CATEGORICAL)

        for source, (origin, batch) in read_each(self._sources, read):
            yield Chunk(
                origin=origin,
                label=labels(batch["label"], "label", origin),
                dense=_log_counts(batch, origin),
                categorical=tuple(batch[name] for name in CATEGORICAL),
                split=source.split,
            )


def _log_counts(batch: pa.RecordBatch, origin: Origin) -> npt.NDArray[np.float32]:
    """Return the transformed numericals, float32 [n, 13]."""
    dense = np.empty((batch.num_rows, len(NUMERICAL)), np.float32)
    for column, name in enumerate(NUMERICAL):
        counts = numbers(batch[name], name, origin, missing=0.0)
        dense[:, column] = signed_log(counts)
    return dense
