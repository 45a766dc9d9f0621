"""Detects stalled and pending trainings from values and a clock, without Ray."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from distrib.scheduling.resources import Reservation, Resources

STALL_S = 1800.0
"""So long a training may make no progress; evaluating a large set may take a while"""


class StallDetector:
    """Tracks when each training last made progress.

    Args:
        patience_s: seconds that a training may report nothing new.
    """

    def __init__(self, patience_s: float) -> None:
        self.patience_s = patience_s
        self._last: dict[str, tuple[int, float]] = {}

    def stalled(self, told: Mapping[str, int], now_s: float) -> list[str]:
        """Return the trainings without progress for longer than ``patience_s``.

        Args:
            told: examples trained, by name, of running trainings (pending ones report nothing).
            now_s: the time of any monotonic clock.
        """
        for name, examples in told.items():
            before = self._last.get(name)
            if before is None or before[0] != examples:
                self._last[name] = (examples, now_s)
        return [name for name in told if now_s - self._last[name][1] > self.patience_s]


WAIT_S = 120.0
"""So long a node takes to start that is going to"""


class PendingDetector:
    """Tracks how long each training has been pending; reports each once.

    Args:
        patience_s: seconds that a training may be pending without a report.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._since: dict[str, float] = {}
        self._told: set[str] = set()

    def overdue(self, waiting: Mapping[str, Resources], now_s: float) -> list[str]:
        """Return the trainings pending for longer than ``patience_s``.

        Args:
            waiting: resources of one process of each pending training, by name.
            now_s: the time of any monotonic clock.
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


def node_request(alone: Resources, reserved: Reservation | None) -> Resources:
    """Return what a training requests of a single node."""
    if reserved is None:
        return alone
    together = len(reserved.bundles) if reserved.strategy == "STRICT_PACK" else 1
    return {name: together * amount for name, amount in reserved.bundles[0].items()}


def fits(asked: Resources, nodes: Sequence[Resources]) -> bool:
    """Return whether some node has the requested resources in total."""
    return any(all(node.get(name, 0) >= asked[name] for name in asked) for node in nodes)
