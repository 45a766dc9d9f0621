"""Writes a click log atomically.

Rows arrive in chunks in source order, each chunk for one split. They are appended to arrays in a
hidden directory beside the output (or its link target), then sorted (by split, then by time if
given), described, flushed and renamed. An interrupted preparation leaves only the hidden directory,
which the next one removes.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from recsys.data.click_log import (
    FORMAT,
    META,
    SPLITS,
    VERSION,
    ClickLog,
    GrowingArray,
    StoredArray,
    array_files,
    fingerprint_of,
    is_click_log,
    open_array,
    rows_of,
)
from recsys.data.rows import Positions, Rows
from recsys.data.schema import Schema
from recsys.errors import DataError
from recsys.files import remove, replaceable

_GATHERED_ROWS = 1 << 16
_SPLIT_COLUMN, _TIME_COLUMN = "split.npy", "time.npy"
_ASIDE = "replaced"


class ClickLogWriter:
    """Writes one click log.

    Used so::

        with ClickLogWriter(directory, schema) as writer:
            writer.append("train", rows)
            writer.append("test", rows)
            log = writer.finish({"reader": "criteo"})

    Leaving the block without ``finish`` leaves nothing. Putting rows in order takes 8 to 16 bytes
    of memory per row of the largest split, and none if they arrive in order.
    """

    def __init__(self, directory: Path | str, schema: Schema, *, replace: bool = False) -> None:
        """Set the output; nothing changes before the block is entered.

        Raises DataError if the output cannot be replaced.
        """
        self._directory = Path(directory)
        self._schema = schema
        self._replace = replace
        self._place = replaceable(self._directory)
        self._partial = _partial(self._place)
        self._stack = ExitStack()
        self._staged: dict[str, GrowingArray] = {}
        self._bag_ends: dict[str, int] = {}
        self._rows_of_split = dict.fromkeys(SPLITS, 0)
        self._positives = dict.fromkeys(SPLITS, 0)
        self._timed: bool | None = None
        self._in_order = True
        self._last = (0, -np.inf)

    def __enter__(self) -> Self:
        """Create the hidden directory, empty.

        Raises DataError if the output exists and must not be replaced, or if another process is
        writing it.
        """
        try:
            self._partial.mkdir(parents=True, exist_ok=True)
            lock = os.open(self._partial, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError as error:
            raise DataError(
                f"{self._partial}: {error.strerror}, expected a directory to write to"
            ) from None
        with ExitStack() as stack:
            stack.callback(os.close, lock)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise DataError(f"{self._directory}: another process is writing it") from None
            stack.callback(self._clear)
            self._restore_replaced()
            check_free(self._directory, replace=self._replace)
            for leftover in self._partial.iterdir():
                remove(leftover)
            self._staged = self._create(stack, self._partial / "staged", self._staged_files())
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def append(self, split: str, rows: Rows, time: npt.NDArray[np.float64] | None = None) -> None:
        """Add rows to ``split`` (train, valid, test), in any order of splits.

        ``time`` (float64 [n], any unit) is given for all chunks or for none; with it, rows of a
        split are sorted by time (stable). Raises DataError for a label outside {0, 1}, an id
        outside its table, or a dense value that is not finite.
        """
        if self._timed not in (None, time is not None):
            raise ValueError("times are given for all chunks or for none")
        self._timed = time is not None
        if len(rows) == 0:
            return
        _check(rows, self._schema, f"{self._directory}: split {split}", self._rows_of_split[split])
        self._rows_of_split[split] += len(rows)
        self._positives[split] += int(rows.label.sum())
        self._watch_order(SPLITS.index(split), time)
        for name, array in self._columns(rows):
            self._staged[name].append(array)
        self._staged[_SPLIT_COLUMN].append(np.full(len(rows), SPLITS.index(split), np.uint8))
        if time is not None:
            self._staged[_TIME_COLUMN].append(np.asarray(time, np.float64))

    def finish(
        self, meta: Mapping[str, Any] | None = None, *, expected: Sequence[str] = ("train",)
    ) -> ClickLog:
        """Sort the rows, write the description, rename the directory and open it.

        Raises DataError if an ``expected`` split has no row, or if a split has one label only.
        """
        self._check_splits(expected)
        stored = {name: array.close() for name, array in self._staged.items()}
        log = self._partial / "log"
        if self._in_order:
            arrays = self._keep_order(stored, log)
        else:
            arrays = self._put_in_order(stored, log)
        self._describe(log, arrays, meta or {})
        _publish(log, self._place, self._partial / _ASIDE)
        self._stack.close()
        return ClickLog.open(self._directory)

    def _clear(self) -> None:
        """Remove the hidden directory, unless it has the only complete log."""
        self._restore_replaced()
        remove(self._partial)

    def _restore_replaced(self) -> None:
        """Restore the replaced log if the new one was not renamed."""
        aside = self._partial / _ASIDE
        if os.path.lexists(aside) and not os.path.lexists(self._place):
            aside.rename(self._place)

    def _create(
        self,
        stack: ExitStack,
        directory: Path,
        files: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]],
    ) -> dict[str, GrowingArray]:
        """Open a growing array per file in a new directory, with the first offsets."""
        directory.mkdir()
        arrays = {
            name: stack.enter_context(GrowingArray(directory / name, dtype, row_shape))
            for name, (dtype, row_shape) in files.items()
        }
        for feature in self._schema.multi_valued:
            arrays[f"{feature.name}.offsets.npy"].append(np.zeros(1, np.int64))
            self._bag_ends[feature.name] = 0
        return arrays

    def _staged_files(self) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
        """Return the arrays of the log and the two columns that order it."""
        files = array_files(self._schema)
        files[_SPLIT_COLUMN], files[_TIME_COLUMN] = (np.dtype("u1"), ()), (np.dtype("<f8"), ())
        return files

    def _columns(self, rows: Rows) -> Iterator[tuple[str, npt.NDArray[Any]]]:
        """Yield the file name and the data of each array, with continued offsets."""
        yield "label.npy", rows.label
        yield "dense.npy", rows.dense
        yield "ids.npy", rows.ids
        yield "group.npy", rows.group
        for name, bag in rows.bags.items():
            yield f"{name}.values.npy", bag.values
            yield f"{name}.offsets.npy", bag.offsets[1:] + self._bag_ends[name]
            self._bag_ends[name] += int(bag.offsets[-1])

    def _watch_order(self, split: int, time: npt.NDArray[np.float64] | None) -> None:
        """Record whether rows still arrive in order of (split, time)."""
        first, last = (0.0, 0.0) if time is None else (float(time[0]), float(time[-1]))
        sorted_within = time is None or bool(np.all(time[1:] >= time[:-1]))
        self._in_order &= sorted_within and self._last <= (split, first)
        self._last = (split, last)

    def _check_splits(self, expected: Sequence[str]) -> None:
        """Raise DataError unless each expected split has rows, with both labels."""
        for split in expected:
            if not self._rows_of_split[split]:
                raise DataError(f"{self._directory}: split {split} has no row")
        for split, count in self._rows_of_split.items():
            positives = self._positives[split]
            if count and positives in (0, count):
                lacking = "positive (label 1)" if positives == 0 else "negative (label 0)"
                raise DataError(
                    f"{self._directory}: split {split} of {count} rows has no {lacking} row,"
                    " expected both labels"
                )

    def _keep_order(self, stored: Mapping[str, StoredArray], log: Path) -> dict[str, StoredArray]:
        """Use the staged arrays as they are."""
        (self._partial / "staged").rename(log)
        for name in (_SPLIT_COLUMN, _TIME_COLUMN):
            (log / name).unlink()
        return {name: stored[name] for name in array_files(self._schema)}

    def _put_in_order(self, stored: Mapping[str, StoredArray], log: Path) -> dict[str, StoredArray]:
        """Copy the staged rows into the log by split and time."""
        staged = {
            name: open_array(self._partial / "staged" / name, array)
            for name, array in stored.items()
        }
        source = rows_of(self._schema, staged)
        self._staged = self._create(self._stack, log, array_files(self._schema))
        for positions in self._ordered(staged):
            for name, array in self._columns(source.take(positions)):
                self._staged[name].append(array)
        return {name: array.close() for name, array in self._staged.items()}

    def _ordered(self, staged: Mapping[str, npt.NDArray[Any]]) -> Iterator[Positions]:
        """Yield the staged positions in the order of the log, by chunk."""
        for split in range(len(SPLITS)):
            positions = np.flatnonzero(staged[_SPLIT_COLUMN] == split)
            if self._timed:
                times = staged[_TIME_COLUMN][positions]
                positions = positions[np.argsort(times, kind="stable")]
            for start in range(0, len(positions), _GATHERED_ROWS):
                yield positions[start : start + _GATHERED_ROWS]

    def _describe(
        self, log: Path, arrays: Mapping[str, StoredArray], meta: Mapping[str, Any]
    ) -> None:
        """Write ``meta.json`` and flush it and the directory to the disk."""
        ends = np.cumsum([self._rows_of_split[name] for name in SPLITS]).tolist()
        splits = {
            name: range(end - self._rows_of_split[name], end)
            for name, end in zip(SPLITS, ends, strict=True)
        }
        description = {
            "format": FORMAT,
            "version": VERSION,
            "schema": self._schema.to_json(),
            "rows": ends[-1],
            "splits": {name: [part.start, part.stop] for name, part in splits.items()},
            "arrays": {name: array.to_json() for name, array in arrays.items()},
            "fingerprint": fingerprint_of(self._schema, splits, arrays),
            "meta": dict(meta),
        }
        with (log / META).open("w", encoding="utf-8") as file:
            json.dump(description, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        _sync_directory(log)


def check_free(directory: Path, *, replace: bool) -> None:
    """Raise DataError if an output must not be written to ``directory`` or its link target.

    An empty directory is free; a click log may be replaced; anything else is never removed.
    """
    place = replaceable(directory)
    partial = _partial(place)
    try:
        with suppress(FileNotFoundError, NotADirectoryError):
            if not stat.S_ISDIR(partial.lstat().st_mode):
                raise DataError(f"{partial}: found a link or a file, expected no such name")
        if not os.path.lexists(place) or (place.is_dir() and _is_empty(place)):
            return
    except OSError as error:
        raise DataError(f"{directory}: {error.strerror}") from None
    if not is_click_log(place):
        raise DataError(f"{directory}: exists and is not a click log; it is unchanged")
    if not replace:
        raise DataError(f"{directory}: a click log exists already; --replace overwrites it")


def _partial(place: Path) -> Path:
    """Return the hidden directory beside an output."""
    return place.with_name(f".{place.name}.partial")


def _is_empty(directory: Path) -> bool:
    return next(directory.iterdir(), None) is None


def _publish(log: Path, directory: Path, aside: Path) -> None:
    """Rename ``log`` to ``directory``; a log that it replaces is moved to ``aside``.

    If this is interrupted in between, the writer restores the old one.
    """
    if directory.exists() and not _is_empty(directory):
        directory.rename(aside)
    log.rename(directory)
    _sync_directory(directory.parent)


def _sync_directory(directory: Path) -> None:
    """Flush the names in a directory to the disk."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _check(rows: Rows, schema: Schema, place: str, before: int) -> None:
    """Raise DataError for the first value that is invalid for the schema."""
    bad = np.flatnonzero((rows.label != 0) & (rows.label != 1))
    if len(bad):
        found = rows.label[bad[0]]
        raise DataError(f"{place}, row {before + bad[0] + 1}: label {found}, expected 0 or 1")
    bad, column = np.nonzero(~np.isfinite(rows.dense))
    if len(bad):
        name, found = schema.dense[column[0]], rows.dense[bad[0], column[0]]
        raise DataError(f"{place}, row {before + bad[0] + 1}: {name} is {found}, expected a number")
    for column_number, feature in enumerate(schema.single_valued):
        beyond = _beyond(rows.ids[:, column_number], feature.cardinality)
        if beyond is not None:
            row, found = beyond
            raise DataError(
                f"{place}, row {before + row + 1}: id {found} of {feature.name},"
                f" expected 0 to {feature.cardinality - 1}"
            )
    for feature in schema.multi_valued:
        bag = rows.bags[feature.name]
        beyond = _beyond(bag.values, feature.cardinality)
        if beyond is not None:
            at, found = beyond
            row = int(np.searchsorted(bag.offsets, at, side="right"))
            raise DataError(
                f"{place}, row {before + row}: id {found} of {feature.name},"
                f" expected 0 to {feature.cardinality - 1}"
            )


def _beyond(ids: npt.NDArray[np.int32], cardinality: int) -> tuple[int, int] | None:
    """Return the position and value of the first id outside its table, or None."""
    if len(ids) == 0 or (int(ids.min()) >= 0 and int(ids.max()) < cardinality):
        return None
    at = int(np.flatnonzero((ids < 0) | (ids >= cardinality))[0])
    return at, int(ids[at])
