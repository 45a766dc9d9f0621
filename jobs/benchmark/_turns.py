"""Contestants that take turns, and what was wanted of the ratios between them.

What else the machine does meets all contestants of a turn alike, so only ratios within a turn are
judged; what is printed is their median, with the lowest and the highest.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from rich.table import Table

Turns = Sequence[Mapping[str, float]]
"""Each turn's rates, by contestant"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Goal:
    """A ratio of two contestants' rates that is wanted."""

    of: str
    to: str
    at_least: float


class Clock:
    """Takes the time of batches; a rate is of the second half, when all is warm and all are there.

    Call it with the number of examples trained since the last call.
    """

    def __init__(self) -> None:
        self._times: list[float] = []
        self._examples: list[int] = []

    def __call__(self, examples: int) -> None:
        self._times.append(time.perf_counter())
        self._examples.append(examples)

    def rate(self) -> float:
        """Return the examples per second of the second half of the examples."""
        trained = np.cumsum(self._examples)
        half = int(np.searchsorted(trained, trained[-1] / 2))
        return float((trained[-1] - trained[half]) / (self._times[-1] - self._times[half]))


def verdicts(turns: Turns, goals: Sequence[Goal]) -> Table:
    """Return what was wanted and what came; a contestant that is not there leaves a goal open."""
    table = Table("ratio of rates", "wanted", "found [lowest, highest]", "")
    for goal in goals:
        name, wanted = f"{goal.of} ÷ {goal.to}", f"≥ {goal.at_least:.3g}"
        if {goal.of, goal.to} <= turns[0].keys():
            found = ratios(turns, goal.of, goal.to)
            reached = "reached" if np.median(found) >= goal.at_least else "missed"
            table.add_row(name, wanted, spread(found), reached)
        else:
            table.add_row(name, wanted, "", "not measured")
    return table


def ratios(turns: Turns, of: str, to: str) -> list[float]:
    """Return the ratio of two contestants' rates in each turn."""
    return [turn[of] / turn[to] for turn in turns]


def spread(found: Sequence[float]) -> str:
    """Return the median with the lowest and the highest."""
    return f"{np.median(found):.2f} [{min(found):.2f}, {max(found):.2f}]"
