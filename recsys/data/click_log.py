"""A click log on disk: a directory of memory-mapped arrays and ``meta.json``.

``label.npy`` float32 [N], ``dense.npy`` float32 [N, D], ``ids.npy`` int32 [N, T1], ``group.npy``
int64 [N] and, for each multi-valued feature, ``NAME.values.npy`` int32 and ``NAME.offsets.npy``
int64 [N + 1]. The splits are concatenated in the order of ``SPLITS``.
"""

from __future__ import annotations

import hashlib
import json
import operator
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from recsys.data.rows import Bag, Rows
from recsys.data.schema import Schema
from recsys.errors import DataError
from recsys.files import expecting, parse_json

_BLOCK_BYTES = 1 << 22


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredArray:
    """Dtype (as ``<f4``), shape and SHA-256 (hex) of an array file's elements."""

    dtype: str
    shape: tuple[int, ...]
    sha256: str

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self) | {"shape": list(self.shape)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> StoredArray:
        """Return the value of ``to_json``; KeyError, TypeError or ValueError if invalid."""
        dtype = np.dtype(value["dtype"])
        if dtype.hasobject:
            raise ValueError(f"an array of {dtype}, expected numbers")
        shape = tuple(operator.index(length) for length in value["shape"])
        return cls(dtype=dtype.str, shape=shape, sha256=value["sha256"])


class GrowingArray:
    """A ``.npy`` file of unknown length; its header is valid after ``close``."""

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
        """Append rows (of this dtype and row shape); ValueError for others."""
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
        """Write the final header, flush to disk and return the stored array."""
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
        """Write the header; numpy reserves room for the length."""
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
    """Map an array read-only; DataError unless dtype, shape and length match ``stored``."""
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
    """Return the SHA-256 (hex) of an array file's elements; DataError for another file."""
    _, _, _, start = _header(path)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(start)
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _header(path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Return shape, Fortran order, dtype and the offset of the elements."""
    try:
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
            return shape, fortran_order, dtype, file.tell()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None
    except ValueError as error:
        raise DataError(f"{path}: not a NumPy array ({error})") from None


FORMAT = "soloist click log"
VERSION = 1
META = "meta.json"
SPLITS = ("train", "valid", "test")


@dataclass(frozen=True, kw_only=True, slots=True)
class ClickLog:
    """N examples in splits; every array is a read-only memory map.

    ``splits`` maps train, valid and test to ranges of rows (possibly empty). ``fingerprint`` is the
    SHA-256 over schema, splits and checksums of all arrays; equal content has an equal fingerprint.
    ``meta`` has further facts, such as the reader's name or a synthetic log's ``bayes_log_loss``.
    """

    directory: Path
    schema: Schema
    splits: dict[str, range]
    rows: Rows
    arrays: dict[str, StoredArray]
    fingerprint: str
    meta: dict[str, Any]

    @classmethod
    def open(cls, directory: Path | str) -> ClickLog:
        """Map the click log in ``directory``.

        Raises DataError if it is missing or incomplete, or if an array differs in shape, type or
        length. ``verify`` checks the contents.
        """
        place = Path(directory)
        meta = _read_meta(place)
        with expecting("a whole description", place / META):
            schema = Schema.from_json(meta["schema"])
            splits = {name: range(*meta["splits"][name]) for name in SPLITS}
            arrays = {name: StoredArray.from_json(a) for name, a in meta["arrays"].items()}
            strange = arrays.keys() - array_files(schema).keys()
            if strange:
                raise DataError(f"found array {min(strange)!r}, which its schema does not need")
            fingerprint, rest = meta["fingerprint"], meta["meta"]
            found = fingerprint_of(schema, splits, arrays)
        if found != fingerprint:
            raise DataError(f"{place / META}: its fingerprint does not fit it; prepare it again")
        mapped = {name: open_array(place / name, stored) for name, stored in arrays.items()}
        rows = _rows(place, schema, mapped)
        if splits["test"].stop != len(rows):
            raise DataError(f"{place}: {len(rows)} rows, but splits of {splits['test'].stop}")
        return cls(
            directory=place,
            schema=schema,
            splits=splits,
            rows=rows,
            arrays=arrays,
            fingerprint=fingerprint,
            meta=rest,
        )

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def label(self) -> npt.NDArray[np.float32]:
        """Labels 0 or 1, float32 [N]."""
        return self.rows.label

    @property
    def dense(self) -> npt.NDArray[np.float32]:
        """Dense features, float32 [N, D]."""
        return self.rows.dense

    @property
    def ids(self) -> npt.NDArray[np.int32]:
        """Table rows of the single-valued features, int32 [N, T1], in schema order."""
        return self.rows.ids

    @property
    def bags(self) -> Mapping[str, Bag]:
        """Bags of table rows of the multi-valued features, in schema order."""
        return self.rows.bags

    @property
    def group(self) -> npt.NDArray[np.int64]:
        """The group (user or request) of each example, int64 [N]; all distinct without groups."""
        return self.rows.group

    def verify(self) -> None:
        """Check every byte against its checksum; DataError names the array that differs."""
        for name, stored in self.arrays.items():
            if checksum(self.directory / name) != stored.sha256:
                raise DataError(f"{self.directory / name}: its content is not what was prepared")


def fingerprint_of(
    schema: Schema, splits: Mapping[str, range], arrays: Mapping[str, StoredArray]
) -> str:
    """Return the SHA-256 (hex) that identifies a click log's content."""
    content = {
        "version": VERSION,
        "schema": schema.to_json(),
        "splits": {name: [part.start, part.stop] for name, part in splits.items()},
        "arrays": {name: arrays[name].to_json() for name in sorted(arrays)},
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def is_click_log(directory: Path) -> bool:
    """Return whether ``directory`` has a click log's description, complete or not."""
    try:
        _read_meta(directory)
    except DataError:
        return False
    return True


def array_files(schema: Schema) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
    """Return dtype and row shape of every array of a click log by file name."""
    files: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {
        "label.npy": (np.dtype("<f4"), ()),
        "dense.npy": (np.dtype("<f4"), (len(schema.dense),)),
        "ids.npy": (np.dtype("<i4"), (len(schema.single_valued),)),
        "group.npy": (np.dtype("<i8"), ()),
    }
    for feature in schema.multi_valued:
        files[f"{feature.name}.values.npy"] = (np.dtype("<i4"), ())
        files[f"{feature.name}.offsets.npy"] = (np.dtype("<i8"), ())
    return files


def rows_of(schema: Schema, arrays: Mapping[str, npt.NDArray[Any]]) -> Rows:
    """Return arrays of a click log, by file name, as rows."""
    return Rows(
        label=arrays["label.npy"],
        dense=arrays["dense.npy"],
        ids=arrays["ids.npy"],
        bags={
            feature.name: Bag(
                values=arrays[f"{feature.name}.values.npy"],
                offsets=arrays[f"{feature.name}.offsets.npy"],
            )
            for feature in schema.multi_valued
        },
        group=arrays["group.npy"],
    )


def _read_meta(directory: Path) -> dict[str, Any]:
    """Return the parsed ``meta.json`` of a click log of this version."""
    path = directory / META
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{directory}: not a click log ({META}: {error.strerror}); soloist prepare writes one"
        ) from None
    meta = parse_json(content, path)
    if meta.get("format") != FORMAT:
        raise DataError(f"{path}: not the description of a click log")
    if meta.get("version") != VERSION:
        raise DataError(f"{path}: version {meta.get('version')!r}, expected {VERSION}")
    return meta


def _rows(place: Path, schema: Schema, arrays: Mapping[str, npt.NDArray[Any]]) -> Rows:
    """Return the mapped arrays as rows, validated against the schema and each other."""
    length = arrays["label.npy"].shape[0] if "label.npy" in arrays else 0
    for name, (dtype, row_shape) in array_files(schema).items():
        array = arrays.get(name)
        if array is None:
            raise DataError(f"{place}: its schema needs {name}, which its description lacks")
        if array.dtype != dtype or array.shape[1:] != row_shape:
            raise DataError(f"{place / name}: {array.dtype} {array.shape} does not fit the schema")
        expected = length + 1 if name.endswith(".offsets.npy") else length
        if not name.endswith(".values.npy") and array.shape[0] != expected:
            raise DataError(f"{place / name}: {array.shape[0]} entries, expected {expected}")
    return rows_of(schema, arrays)
