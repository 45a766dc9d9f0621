"""Which trainings are stuck: told from what they report and from a clock, without Ray."""

from __future__ import annotations

from collections.abc import Mapping

STALL_S = 1800.0
"""So long a training may make no progress; evaluating a large set may take a while"""


class StallWatch:
    """Remembers when each training last made progress.

    Args:
        patience_s: so long a training that has begun may report nothing new.
    """

    def __init__(self, patience_s: float) -> None:
        self.patience_s = patience_s
        self._last: dict[str, tuple[int, float]] = {}

    def stalled(self, told: Mapping[str, int], now_s: float) -> list[str]:
        """Return the trainings that made no progress for longer than the patience.

        Args:
            told: examples trained, by name, of trainings that have begun: one that waits for a
                node reports nothing and is not stuck.
            now_s: the time, on any clock that goes forward.
        """
        for name, examples in told.items():
            before = self._last.get(name)
            if before is None or before[0] != examples:
                self._last[name] = (examples, now_s)
        return [name for name in told if now_s - self._last[name][1] > self.patience_s]
