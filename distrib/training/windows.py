"""The stream cut into windows, and the states of a window while it is trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from distrib.parameter_store.compact_tables import Compacted
from distrib.parameter_store.parameters import Floats, Parameters, Rows
from distrib.parameter_store.row_routing import Shared
from distrib.training.device_transfer import Fetched, Sent
from recsys.data.batch import Batch


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """Some consecutive batches of the stream."""

    number: int
    first_batch: int
    last_batch: int
    """Excluded"""


@dataclass(frozen=True, slots=True)
class Windows(Sequence[Window]):
    """All windows of a stream of ``batches``, ``length`` batches each; the last may be short."""

    batches: int
    length: int

    def __len__(self) -> int:
        return (self.batches + self.length - 1) // self.length

    def __getitem__(self, number: int) -> Window:  # type: ignore[override]
        if not 0 <= number < len(self):
            raise IndexError(f"window {number} of {len(self)}")
        first = number * self.length
        return Window(
            number=number,
            first_batch=first,
            last_batch=min(first + self.length, self.batches),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """A window ready to be trained, and what must be pulled for it."""

    window: Window
    compacted: Compacted
    rows: tuple[tuple[Rows, ...], ...]
    """For each replica, for each slab: the distinct rows, ascending"""
    examples: int
    """Per replica"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Staged:
    """A window, and what was pulled for it, on the device or on the way there."""

    prepared: Prepared
    batches: Sent[Batch]
    records: Sent[Tensor]
    """Each slab's, replica after replica, then the dense vectors ``(R, dense parts, elements)``"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What training a window did to each replica."""

    parameters: tuple[Parameters, ...]
    """After minus before, for each replica the records of its prepared rows; weights scaled"""
    progressive_loss: npt.NDArray[np.float64]
    """``[R]``: log loss of what would be served, each example before it was trained on, summed"""
    is_finite: bool
    """False if a loss or a changed value is NaN or infinite: such a change may not be pushed"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What came of a window, on the device and on the way to the host."""

    changes: tuple[Tensor, ...]
    """As the records of ``Staged``, on the device"""
    fetched: Fetched
    """The same"""
    told: Fetched
    """Whether all is finite, and the progressive loss; there once the window is trained"""


class Training:
    """A window in training.

    On a GPU it is under way; on the CPU it begins once it is asked what came of it.
    """

    def __init__(self, prepared: Prepared, run: Callable[[], Outcome], *, now: bool) -> None:
        self._prepared = prepared
        self._run: Callable[[], Outcome] | None = run
        self._found: Outcome | None = None
        if now:
            self.outcome()

    @property
    def is_running(self) -> bool:
        """Tell whether a GPU is at it."""
        return self._found is not None and not self._found.told.is_here

    def is_finite(self) -> bool:
        """Wait until it is trained; False if its change may not be pushed."""
        return bool(self.outcome().told.wait()[0])

    def change(self) -> Change:
        """Wait until its change is on the host."""
        finite, served = self.outcome().told.wait()
        *slabs, dense = (each.numpy() for each in self.outcome().fetched.wait())
        return Change(
            parameters=_by_replica(self._prepared, slabs, dense),
            progressive_loss=served.numpy(),
            is_finite=bool(finite),
        )

    def outcome(self) -> Outcome:
        if self._run is not None:
            # Dropped, since it holds the window before.
            self._found, self._run = self._run(), None
        assert self._found is not None
        return self._found


@dataclass(frozen=True, kw_only=True, slots=True)
class Carried:
    """A change of one's own that what was pulled has not in it yet."""

    training: Training
    shared: Shared
    """Which rows of the window it touches, and where they stand in the change"""


def _by_replica(
    prepared: Prepared, changes: Sequence[Floats], dense: Floats
) -> tuple[Parameters, ...]:
    ends = [0] * len(changes)
    found = []
    for replica, rows in enumerate(prepared.rows):
        starts, ends = ends, [end + len(each) for end, each in zip(ends, rows, strict=True)]
        found.append(
            Parameters(
                slabs=tuple(
                    change[start:end]
                    for change, start, end in zip(changes, starts, ends, strict=True)
                ),
                dense=dense[replica],
            )
        )
    return tuple(found)
