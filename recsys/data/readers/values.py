"""Converts columns to numbers and text; a value that cannot be is named with its row."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recsys.data.readers.reader import Origin
from recsys.errors import DataError

_LARGEST = np.finfo(np.float32).max


_TRUE, _FALSE = ("true", "True", "TRUE"), ("false", "False", "FALSE")
_short = reprlib.Repr()
_short.maxstring = _short.maxlong = _short.maxother = 80


def shown(value: object) -> str:
    """Return a value, or a type, as a message shows it: shortened."""
    return _short.repr(value)


def labels(column: pa.Array, name: str, origin: Origin) -> npt.NDArray[np.float32]:
    """Return labels, float32 [n]; DataError for anything but 0 or 1 (true and false are fine)."""
    found = numbers(column, name, origin)
    bad = np.flatnonzero((found != 0) & (found != 1))
    if len(bad):
        raise DataError(f"{origin.at(int(bad[0]))}: {name} is {found[bad[0]]:g}, expected 0 or 1")
    return found.astype(np.float32)


def numbers(
    column: pa.Array,
    name: str,
    origin: Origin,
    *,
    missing: float | None = None,
    expected: str = "a number",
    hint: str = "",
) -> npt.NDArray[np.float64]:
    """Return numbers, float64 [n], with ``missing`` for null and, where it is given, for NaN.

    True is 1 and false is 0, as Booleans and in text. Raises DataError unless all are finite, as
    float32 too; its message says what was ``expected`` and, of a missing number, ``hint``.
    """
    try:
        values = _to_float(column)
    except pa.ArrowInvalid:
        row = first_failing(_to_float, column)
        raise DataError(
            f"{origin.at(row)}: {name} is {shown(column[row].as_py())}, expected {expected}"
        ) from None
    except pa.ArrowNotImplementedError:
        raise DataError(
            f"{origin.path}: column {name} is {column.type!s:.80}, expected numbers"
        ) from None
    if values.null_count and missing is None:
        row = pc.index(values.is_null(), True).as_py()
        raise DataError(f"{origin.at(row)}: {name} is missing, expected {expected}{hint}")
    found = pc.fill_null(values, np.nan).to_numpy()
    if missing is not None:
        found = np.where(np.isnan(found), missing, found)
    bad = np.flatnonzero(~(np.abs(found) <= _LARGEST))
    if len(bad):
        at, value = origin.at(int(bad[0])), found[bad[0]]
        tip = hint if np.isnan(value) else ""
        raise DataError(f"{at}: {name} is {value}, expected a finite number{tip}")
    return np.asarray(found, np.float64)


def texts(column: pa.Array, name: str, origin: Origin) -> pa.Array:
    """Return values of a category as text; whole numbers without a point, NaN as missing."""
    if pa.types.is_dictionary(column.type):
        return texts(cast(column, column.type.value_type, name, origin), name, origin)
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), None, column)
        whole = pc.cast(column, pa.int64(), safe=False)
        same = pc.equal(pc.cast(whole, column.type, safe=False), column)
        return pc.if_else(same, pc.cast(whole, pa.string()), pc.cast(column, pa.string()))
    return cast(column, pa.string(), name, origin)


def cast(column: pa.Array, wanted: pa.DataType, name: str, origin: Origin) -> pa.Array:
    """Return the column as another type; DataError if it cannot be."""
    try:
        return pc.cast(column, wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise DataError(
            f"{origin.path}: column {name} is {column.type!s:.80}, expected {wanted}"
        ) from None


def with_words(column: pa.Array, true: Sequence[str], false: Sequence[str]) -> pa.Array:
    """Return text with the words for true as 1 and those for false as 0; others are unchanged."""
    if pa.types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)
    if pa.types.is_string(column.type):
        for words, number in ((true, "1"), (false, "0")):
            column = pc.if_else(pc.is_in(column, pa.array(words, pa.string())), number, column)
    return column


def signed_log(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return ``sign(x) ln(1 + |x|)``: tame for counts, and defined for all numbers."""
    return np.copysign(np.log1p(np.abs(values)), values)


def first_failing(convert: Callable[[pa.Array], Any], values: pa.Array) -> int:
    """Return the index of the first value that ``convert`` refuses, by bisection."""
    good, bad = 0, len(values)
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            convert(values.slice(good, middle - good))
            good = middle
        except pa.ArrowInvalid:
            bad = middle
    return good


def _to_float(column: pa.Array) -> pa.Array:
    """Return the column as float64; ArrowInvalid where a value is not a number."""
    if pa.types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)
    if pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type):
        column = pc.cast(column, pa.string())
    if pa.types.is_boolean(column.type):
        column = pc.cast(column, pa.uint8())
    try:
        # Integers beyond 2^53, such as nanoseconds since 1970, are rounded.
        return pc.cast(column, pa.float64(), safe=not pa.types.is_integer(column.type))
    except pa.ArrowInvalid:
        return pc.cast(with_words(column, _TRUE, _FALSE), pa.float64())
