"""Which trainings wait for a node that may never come: told from a clock, without Ray."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from distrib.resources import Reservation, Resources

WAIT_S = 120.0
"""So long a node takes to start that is going to"""


class WaitWatch:
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
