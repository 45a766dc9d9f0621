"""Which trainings are stuck or pending without a node, decided from values and a clock, no Ray."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from distrib.scheduling.resources import Reservation, Resources

STALL_S = 1800.0
"""So long a training may make no progress; evaluating a large set may take a while"""


class StallDetector:
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


WAIT_S = 120.0
"""So long a node takes to start that is going to"""


class PendingDetector:
    """Remembers since when each training has waited; tells of each once.

    Args:
        patience_s: so long a training may wait without a word.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._since: dict[str, float] = {}
        self._told: set[str] = set()

    def overdue(self, waiting: Mapping[str, Resources], now_s: float) -> list[str]:
        """Return the trainings that have waited for longer than the patience.

        Args:
            waiting: what one process of each training that has not begun asks for, by name.
            now_s: the time, on any clock that goes forward.
        """
        for name in waiting:
            self._since.setdefault(name, now_s)
        found = [
            name
            for name in waiting
            if name not in self._told and now_s - self._since[name] > self._patience_s
        ]
        self._told.update(found)
        return found


def asked_of_a_node(alone: Resources, reserved: Reservation | None) -> Resources:
    """Return what a training asks of a single node, from what it asks without a reservation."""
    if reserved is None:
        return alone
    together = len(reserved.bundles) if reserved.strategy == "STRICT_PACK" else 1
    return {name: together * amount for name, amount in reserved.bundles[0].items()}


def fits(asked: Resources, nodes: Sequence[Resources]) -> bool:
    """Tell whether some node has all that is asked of one, though others may use it now."""
    return any(all(node.get(name, 0) >= asked[name] for name in asked) for node in nodes)
