"""Reads the times of a table: dates in Arrow's types or as text, or plain numbers."""

from __future__ import annotations

import re
from contextlib import suppress

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recsys.data.readers.reader import Origin
from recsys.data.readers.table_schema import TimeColumn
from recsys.data.readers.values import cast, first_failing, numbers, shown, texts
from recsys.errors import DataError

Times = npt.NDArray[np.longdouble]

_EXACT_FLOAT64 = 1 << 53


class Clock:
    """Reads the times of one table, chunk by chunk.

    Times are counted from that of the first row: float64 then tells nanoseconds apart that lie
    within a hundred days.
    """

    def __init__(self, column: TimeColumn) -> None:
        self._column = column
        self._first: tuple[str, Origin, np.longdouble] | None = None

    def read(self, batch: pa.RecordBatch, origin: Origin) -> npt.NDArray[np.float64]:
        """Return times as float64 [n]; DataError for dates in one source and numbers in another."""
        name, column = self._column.name, batch[self._column.name]
        is_date = self._column.format is not None or pa.types.is_temporal(column.type)
        kind = "dates" if is_date else "numbers"
        if self._first and self._first[0] != kind:
            before, where, _ = self._first
            raise DataError(
                f"{origin.path}: column {name} holds {kind}, but {before} in {where.path}"
            )
        found = _times(column, self._column, origin)
        self._first = self._first or (kind, origin, found[0])
        return np.asarray(found - self._first[2], np.float64)


def _times(column: pa.Array, wanted: TimeColumn, origin: Origin) -> Times:
    """Return times [n]: microseconds since 1970 where they are dates, else the numbers given."""
    if wanted.format is not None and not pa.types.is_temporal(column.type):
        column = _parsed(texts(column, wanted.name, origin), wanted.format, wanted.name, origin)
    scale = np.longdouble(1)
    if pa.types.is_temporal(column.type):
        is_ns = pa.types.is_timestamp(column.type) and column.type.unit == "ns"
        unit, scale = ("ns", np.longdouble(1000)) if is_ns else ("us", scale)
        column = pc.cast(cast(column, pa.timestamp(unit), wanted.name, origin), pa.int64())
    expected = "a number" if wanted.format else "a number (dates in text need a format)"
    rounded = numbers(column, wanted.name, origin, expected=expected)
    return _exact(column, rounded) / scale


def _exact(column: pa.Array, rounded: npt.NDArray[np.float64]) -> Times:
    """Return whole numbers beyond 2^53 without the rounding of float64."""
    if np.abs(rounded).max(initial=0) > _EXACT_FLOAT64:
        with suppress(pa.ArrowInvalid):
            return np.asarray(pc.cast(column, pa.int64()).to_numpy(), np.longdouble)
    return np.asarray(rounded, np.longdouble)


def _parsed(column: pa.Array, form: str, name: str, origin: Origin) -> pa.Array:
    """Return text as microseconds since 1970."""

    def convert(part: pa.Array) -> pa.Array:
        return _strptime(part, form)

    try:
        return convert(column)
    except pa.ArrowInvalid:
        row = first_failing(convert, column)
        raise DataError(
            f"{origin.at(row)}: {name} is {shown(column[row].as_py())}, expected a time like {form}"
        ) from None


def _strptime(column: pa.Array, form: str) -> pa.Array:
    """Return int64 microseconds. Arrow knows no %f: its digits are read apart from the rest."""
    whole, fraction, rest = form.partition("%f")
    if not fraction:
        return pc.cast(pc.strptime(column, format=form, unit="us"), pa.int64())
    tail = r"\D.*" if "%" in rest else re.escape(rest)
    point = re.escape(whole[-1])
    head = f"(?:[^{point}]*{point}){{{whole[:-1].count(whole[-1])}}}[^{point}]*"
    pattern = f"^(?P<whole>{head}){point}(?P<fraction>[0-9]{{1,9}})(?P<tail>{tail})$"
    digits = pc.fill_null(pc.struct_field(pc.extract_regex(column, pattern), "fraction"), "")
    micros = pc.utf8_slice_codeunits(pc.utf8_rpad(digits, 6, "0"), 0, 6)
    bare = pc.replace_substring_regex(column, pattern, r"\1\3")
    seconds = pc.cast(pc.strptime(bare, format=whole[:-1] + rest, unit="us"), pa.int64())
    return pc.add(seconds, pc.cast(micros, pa.int64()))
