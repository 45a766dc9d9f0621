"""What every reader offers: typed chunks of rows, with the place that each came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Where a chunk came from: a file and the number of the chunk's first row in it.

    Rows are counted as an editor counts lines: from 1, a header being row 1.
    """

    path: Path
    first_row: int

    def at(self, index: int) -> str:
        """Return ``FILE, row N`` for the chunk's row with this index."""
        return f"{self.path}, row {self.first_row + index}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One input file, and the split that it is, where sources are splits.

    A file found in a directory is a ``part``; its ``partition`` holds the columns that the names
    of its folders give (``dt=2024-01-01``), as in Hive.
    """

    path: Path
    split: str | None = None
    part: bool = False
    partition: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Categorical:
    """A categorical column and how it is encoded unless a person says otherwise."""

    name: str
    encoding: str
    multi_valued: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """What a reader's chunks hold; ``group`` is what the group stands for, if there is one."""

    dense: tuple[str, ...] = ()
    categorical: tuple[Categorical, ...] = ()
    group: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """Some rows of one file.

    label float32 [n] in {0, 1}; dense float32 [n, D], finite; ``categorical`` one Arrow array per
    column (text, integers, or lists of these); ``group`` an Arrow array or None; ``time`` float64
    [n] in any unit, or None; ``split`` where sources are splits.
    """

    origin: Origin
    label: npt.NDArray[np.float32]
    dense: npt.NDArray[np.float32]
    categorical: tuple[pa.Array, ...]
    group: pa.Array | None = None
    time: npt.NDArray[np.float64] | None = None
    split: str | None = None

    def __len__(self) -> int:
        return len(self.label)


@dataclass(frozen=True, kw_only=True, slots=True)
class Traits:
    """What a preparation may build on.

    ``timed``: chunks have times. ``in_time_order``: rows come in the order of time, so that their
    position tells it. ``split``: every chunk names its split.
    """

    timed: bool = False
    in_time_order: bool = False
    split: bool = False


class Reader(Protocol):
    """A source of chunks that can be read as often as needed, always the same."""

    @property
    def columns(self) -> Columns:
        """What the chunks hold."""

    @property
    def traits(self) -> Traits:
        """What the chunks allow."""

    @property
    def meta(self) -> dict[str, Any]:
        """What the click log should tell about its source."""

    def row_count(self) -> int:
        """Return the number of rows that ``chunks`` will yield."""

    def chunks(self) -> Iterator[Chunk]:
        """Yield the rows; raises DataError that names file and row."""
