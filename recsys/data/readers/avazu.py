"""Avazu's click-through logs (Kaggle 2014): comma-separated with a header, in the order of time.

``hour`` is YYMMDDHH; it becomes the hour of the day and the day of the week, the two of its parts
that come back after the ten days of the log. ``id`` is different in every row and is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.data.readers.delimited import COMPRESSED, Pattern, TextFormat, read_each, read_text
from recsys.data.readers.reader import Categorical, Chunk, Columns, Origin, Source, Traits
from recsys.data.readers.request import Request
from recsys.data.readers.values import first_failing, labels, shown
from recsys.errors import DataError

PATTERNS = tuple(
    Pattern(glob=glob) for glob in ("train", "train.csv", *(f"train*{c}" for c in COMPRESSED[1:]))
)

_AS_GIVEN = (
    *("C1", "banner_pos", "site_id", "site_domain", "site_category"),
    *("app_id", "app_domain", "app_category"),
    *("device_id", "device_ip", "device_model", "device_type", "device_conn_type"),
    *(f"C{number}" for number in range(14, 22)),
)
_MADE = ("hour_of_day", "weekday")


class Avazu:
    """Files one after another, in the order given; there is no group."""

    def __init__(self, sources: tuple[Source, ...]) -> None:
        self._sources = sources

    @classmethod
    def open(cls, request: Request) -> Avazu:
        """Return the reader of the files that are asked for."""
        return cls(request.sources)

    @property
    def columns(self) -> Columns:
        """21 categoricals as given, hashed into tables of 100,000 rows; hour of day and weekday."""
        given = [Categorical(name=name, encoding="hash:100000") for name in _AS_GIVEN]
        made = [Categorical(name=name, encoding="vocabulary:1") for name in _MADE]
        return Columns(categorical=(*given, *made))

    @property
    def traits(self) -> Traits:
        """Rows tell time by their order: the hours repeat far too often to divide by."""
        return Traits(in_time_order=True, split=self._sources[0].split is not None)

    @property
    def meta(self) -> dict[str, Any]:
        """The names of the files."""
        return {"reader": "avazu", "sources": [source.path.name for source in self._sources]}

    def row_count(self) -> int:
        """Return the number of rows."""
        return sum(batch.num_rows for _, (_, batch) in self._batches(("click",)))

    def chunks(self) -> Iterator[Chunk]:
        """Yield the rows of all files."""
        for source, (origin, batch) in self._batches(("click", "hour", *_AS_GIVEN)):
            hours = _hours(batch["hour"], origin)
            yield Chunk(
                origin=origin,
                label=labels(batch["click"], "click", origin),
                dense=np.empty((batch.num_rows, 0), np.float32),
                categorical=(
                    *(batch[name] for name in _AS_GIVEN),
                    pc.hour(hours),
                    pc.day_of_week(hours),
                ),
                split=source.split,
            )

    def _batches(
        self, wanted: tuple[str, ...]
    ) -> Iterator[tuple[Source, tuple[Origin, pa.RecordBatch]]]:
        return read_each(
            self._sources,
            lambda source: read_text(source.path, TextFormat(), wanted, coded=_AS_GIVEN),
        )


def _hours(column: pa.Array, origin: Origin) -> pa.Array:
    """Return YYMMDDHH as timestamps."""

    def convert(part: pa.Array) -> pa.Array:
        return pc.strptime(pc.binary_join_element_wise("20", part, ""), "%Y%m%d%H", unit="s")

    try:
        hours = convert(column)
    except pa.ArrowInvalid:
        row = first_failing(convert, column)
        raise DataError(
            f"{origin.at(row)}: hour is {shown(column[row].as_py())}, expected YYMMDDHH"
        ) from None
    if hours.null_count:
        row = pc.index(hours.is_null(), True).as_py()
        raise DataError(f"{origin.at(row)}: hour is missing, expected YYMMDDHH")
    return hours
