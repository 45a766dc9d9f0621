"""The stream cut into windows: the unit of work, of leasing, of recovery and of resume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


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
