"""Which rows train, validate and test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

import numpy as np
import numpy.typing as npt

from recsys.data.click_log import SPLITS
from recsys.data.readers.reader import Chunk, Reader
from recsys.data.shuffle import uniforms
from recsys.errors import ConfigError, DataError

Codes = npt.NDArray[np.uint8]
Watch = Callable[[str, int], None]
Key = Callable[[Chunk, int], npt.NDArray[np.float64]]


class SplitBy(StrEnum):
    """How rows come into splits."""

    TIME = "time"
    """The last rows in time are tested on, those before them validated on."""
    FRACTION = "fraction"
    """Every row is drawn into a split, independently of the others."""
    FILES = "files"
    """Sources are splits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """What a person asked for.

    ``by`` None means files where sources are splits, else time where rows have one, else fraction.
    ``valid`` and ``test`` are shares of all rows; 0 leaves a split empty.
    """

    by: SplitBy | None = None
    valid: float = 0.1
    test: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ConfigError for shares that leave no training row, and for a negative seed."""
        if self.valid < 0 or self.test < 0 or not self.valid + self.test < 1:
            raise ConfigError(
                f"valid {self.valid} and test {self.test}: expected shares of at least 0 and"
                " together less than 1"
            )
        if self.seed < 0:
            raise ConfigError(f"seed {self.seed}: expected at least 0")


class Splitter:
    """Names the split of every row; ``expected`` are the splits that must occur."""

    def __init__(
        self, by: SplitBy, expected: tuple[str, ...], code_of: Callable[[Chunk, int], Codes]
    ) -> None:
        self.by = by
        self.expected = expected
        self._code_of = code_of

    def parts(self, chunk: Chunk, position: int) -> Iterator[tuple[str, npt.NDArray[np.int64]]]:
        """Yield the splits that a chunk touches, each with the indices of its rows.

        ``position`` is the number of rows in the chunks before this one.
        """
        codes = self._code_of(chunk, position)
        for code, split in enumerate(SPLITS):
            rows = np.flatnonzero(codes == code)
            if len(rows):
                yield split, rows


def splitter(reader: Reader, split: Split, watch: Watch) -> Splitter:
    """Return the splitter; a split by time reads the source once, to find where time divides.

    Raises ConfigError for a split that the reader's rows cannot have.
    """
    by = split.by or _default(reader)
    if by is SplitBy.FILES:
        return _by_files(reader)
    if by is SplitBy.FRACTION:
        bounds = np.array([1 - split.valid - split.test, 1 - split.test])
        return _by_bounds(by, split, bounds, partial(_draw, split.seed))
    if reader.traits.timed:
        return _by_bounds(by, split, _time_bounds(reader, split, watch), _time)
    if reader.traits.in_time_order:
        length = reader.row_count()
        return _by_bounds(by, split, np.array(_ends(length, split)), _position)
    raise ConfigError(
        "split time: these rows have no time; expected split fraction, or sources for valid and"
        " test"
    )


def _default(reader: Reader) -> SplitBy:
    if reader.traits.split:
        return SplitBy.FILES
    if reader.traits.timed or reader.traits.in_time_order:
        return SplitBy.TIME
    return SplitBy.FRACTION


def _by_files(reader: Reader) -> Splitter:
    if not reader.traits.split:
        raise ConfigError(
            "split files: no source says which split it is; expected --valid-source"
            " or --test-source beside --source"
        )

    def code_of(chunk: Chunk, position: int) -> Codes:
        return np.full(len(chunk), SPLITS.index(chunk.split or "train"), np.uint8)

    return Splitter(SplitBy.FILES, ("train",), code_of)


def _by_bounds(by: SplitBy, split: Split, bounds: npt.NDArray[np.float64], key: Key) -> Splitter:
    """Return a splitter by where the rows' keys lie among two bounds (a bound opens its split)."""

    def code_of(chunk: Chunk, position: int) -> Codes:
        return np.searchsorted(bounds, key(chunk, position), side="right").astype(np.uint8)

    shares = {"train": 1.0, "valid": split.valid, "test": split.test}
    return Splitter(by, tuple(name for name, share in shares.items() if share), code_of)


def _draw(seed: int, chunk: Chunk, position: int) -> npt.NDArray[np.float64]:
    return uniforms(position, position + len(chunk), seed=seed)


def _position(chunk: Chunk, position: int) -> npt.NDArray[np.float64]:
    return np.arange(position, position + len(chunk), dtype=np.float64)


def _time(chunk: Chunk, position: int) -> npt.NDArray[np.float64]:
    if chunk.time is None:
        raise DataError(f"{chunk.origin.at(0)}: has no time, which the reader had promised")
    return chunk.time


def _ends(length: int, split: Split) -> tuple[int, int]:
    """Return how many rows come before valid and before test."""
    tested, validated = round(length * split.test), round(length * split.valid)
    return length - tested - validated, length - tested


def _time_bounds(reader: Reader, split: Split, watch: Watch) -> npt.NDArray[np.float64]:
    """Return the times at which valid and test begin: rows of one moment are never parted.

    Takes 8 bytes of memory per row.
    """
    times, position = [np.empty(0)], 0
    for chunk in reader.chunks():
        times.append(_time(chunk, position))
        position += len(chunk)
        watch("looking for the times that divide it", position)
    ordered = np.sort(np.concatenate(times))
    return np.array([ordered[end] if end < position else np.inf for end in _ends(position, split)])
