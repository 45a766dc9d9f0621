"""Columns of text become numbers, or one line that says which row does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recsys.data.readers.reader import Origin
from recsys.errors import DataError

_LARGEST = np.finfo(np.float32).max


def labels(column: pa.Array, name: str, origin: Origin) -> npt.NDArray[np.float32]:
    """Return labels, float32 [n]; DataError for anything but 0 or 1 (true and false are fine)."""
    found = numbers(column, name, origin)
    bad = np.flatnonzero((found != 0) & (found != 1))
    if len(bad):
        raise DataError(f"{origin.at(int(bad[0]))}: {name} is {found[bad[0]]:g}, expected 0 or 1")
    return found.astype(np.float32)


def numbers(
    column: pa.Array, name: str, origin: Origin, *, missing: float | None = None
) -> npt.NDArray[np.float64]:
    """Return numbers, float64 [n], with ``missing`` for null.

    Raises DataError unless all are finite, as float32 too.
    """
    try:
        values = _to_float(column)
    except pa.ArrowInvalid:
        row = first_failing(_to_float, column)
        raise DataError(
            f"{origin.at(row)}: {name} is {column[row].as_py()!r}, expected a number"
        ) from None
    except pa.ArrowNotImplementedError:
        raise DataError(
            f"{origin.path}: column {name} is {column.type}, expected numbers"
        ) from None
    if values.null_count and missing is None:
        row = pc.index(values.is_null(), True).as_py()
        raise DataError(f"{origin.at(row)}: {name} is missing, expected a number")
    found = pc.fill_null(values, 0.0 if missing is None else missing).to_numpy()
    bad = np.flatnonzero(~(np.abs(found) <= _LARGEST))
    if len(bad):
        raise DataError(
            f"{origin.at(int(bad[0]))}: {name} is {found[bad[0]]}, expected a finite number"
        )
    return np.asarray(found, np.float64)


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
    if pa.types.is_boolean(column.type):
        column = pc.cast(column, pa.uint8())
    return pc.cast(column, pa.float64())
