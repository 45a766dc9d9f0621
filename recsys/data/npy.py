"""Arrays in ``.npy`` files that grow while they are written and are memory-mapped when read."""

from __future__ import annotations

import hashlib
import operator
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from recsys.errors import DataError

_BLOCK_BYTES = 1 << 22


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredArray:
    """What was written to a file: dtype (as ``<f4``), shape, SHA-256 (hex) of the elements."""

    dtype: str
    shape: tuple[int, ...]
    sha256: str

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self) | {"shape": list(self.shape)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> StoredArray:
        """Return what ``to_json`` described; KeyError, TypeError or ValueError if it is none."""
        dtype = np.dtype(value["dtype"])
        if dtype.hasobject:
            raise ValueError(f"an array of {dtype}, expected numbers")
        shape = tuple(operator.index(length) for length in value["shape"])
        return cls(dtype=dtype.str, shape=shape, sha256=value["sha256"])


class GrowingArray:
    """A ``.npy`` file of yet unknown length; its header is true once it is closed."""

    def __init__(self, path: Path, dtype: npt.DTypeLike, row_shape: tuple[int, ...] = ()) -> None:
        """Create the file; rows will have ``dtype`` and ``row_shape``."""
        self._dtype = np.dtype(dtype)
        self._row_shape = row_shape
        self._length = 0
        self._digest = hashlib.sha256()
        self._file = path.open("wb")
        self._header_bytes = self._write_header()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def append(self, rows: npt.NDArray[Any]) -> None:
        """Add rows (of this dtype and row shape) at the end; ValueError for any other."""
        if rows.dtype != self._dtype or rows.shape[1:] != self._row_shape:
            raise ValueError(
                f"{self._file.name}: {rows.dtype} {rows.shape} is not rows of"
                f" {self._dtype} {self._row_shape}"
            )
        data = np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data
        self._digest.update(data)
        self._file.write(data)
        self._length += len(rows)

    def close(self) -> StoredArray:
        """Write the true header, flush to the disk and tell what is stored."""
        self._file.seek(0)
        if self._write_header() != self._header_bytes:
            raise RuntimeError(f"{self._file.name}: numpy gave a header of another length")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return StoredArray(
            dtype=self._dtype.str,
            shape=(self._length, *self._row_shape),
            sha256=self._digest.hexdigest(),
        )

    def _write_header(self) -> int:
        """Write the header of what is there so far; numpy leaves room for the length to grow."""
        np.lib.format.write_array_header_1_0(
            self._file,
            {
                "descr": self._dtype.str,
                "fortran_order": False,
                "shape": (self._length, *self._row_shape),
            },
        )
        return self._file.tell()


def open_array(path: Path, stored: StoredArray) -> npt.NDArray[Any]:
    """Map an array read-only; DataError unless it has the dtype, shape and length of ``stored``."""
    dtype, elements = np.dtype(stored.dtype), int(np.prod(stored.shape, dtype=np.int64))
    shape, fortran_order, found_dtype, start = _header(path)
    if shape != stored.shape or found_dtype != dtype or fortran_order:
        raise DataError(f"{path}: holds {found_dtype} {shape}, expected {dtype} {stored.shape}")
    found, expected = path.stat().st_size, start + elements * dtype.itemsize
    if found != expected:
        raise DataError(
            f"{path}: {found} bytes long, expected {expected}; it is cut or overwritten"
        )
    if elements == 0:  # an empty file region cannot be mapped
        empty = np.empty(stored.shape, dtype)
        empty.flags.writeable = False
        return empty
    return np.memmap(path, dtype, mode="r", offset=start, shape=stored.shape)


def checksum(path: Path) -> str:
    """Return the SHA-256 (hex) of an array file's elements; DataError if it is no such file."""
    _, _, _, start = _header(path)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(start)
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _header(path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Return shape, Fortran order, dtype and where the elements start."""
    try:
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
            return shape, fortran_order, dtype, file.tell()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None
    except ValueError as error:
        raise DataError(f"{path}: not a NumPy array ({error})") from None
