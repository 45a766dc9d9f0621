"""A click log on disk: a directory of memory-mapped arrays and the ``meta.json`` that vouches.

``label.npy`` float32 [N], ``dense.npy`` float32 [N, D], ``ids.npy`` int32 [N, T1], ``group.npy``
int64 [N] and, per multi-valued feature, ``NAME.values.npy`` int32 and ``NAME.offsets.npy`` int64
[N + 1]. The splits lie one after another in the order of ``SPLITS``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recsys.data.npy import StoredArray, checksum, open_array
from recsys.data.rows import Bag, Rows
from recsys.data.schema import Schema
from recsys.errors import DataError
from recsys.files import expecting, parse_json

FORMAT = "soloist click log"
VERSION = 1
META = "meta.json"
SPLITS = ("train", "valid", "test")


@dataclass(frozen=True, kw_only=True, slots=True)
class ClickLog:
    """N examples in splits; every array is a read-only memory map.

    ``splits`` has train, valid and test, each a range of rows (empty where none was asked for).
    ``fingerprint`` is the SHA-256 over schema, splits and the checksums of all arrays: equal
    content has an equal fingerprint wherever it lies. ``meta`` is what else the preparation told,
    such as the reader's name or a synthetic log's ``bayes_log_loss``.
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

        Raises DataError if there is none, or if it is incomplete, or if any array differs in
        shape, type or length from what was written. Contents are checked by ``verify``.
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
        """The user or request of each example, int64 [N]; all different if there is no group."""
        return self.rows.group

    def verify(self) -> None:
        """Read every byte against its checksum; raises DataError naming the array that differs."""
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
    """Tell whether ``directory`` holds the description of a click log, whole or not."""
    try:
        _read_meta(directory)
    except DataError:
        return False
    return True


def array_files(schema: Schema) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
    """Return the name of every array of a click log with its dtype and the shape of one row."""
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
    """Return the arrays of a click log, by file name, as rows."""
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
    """Return the mapped arrays as rows, once they fit the schema and each other."""
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
