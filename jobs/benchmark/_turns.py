"""Contestants that take turns, and what was wanted of the ratios between them.

What else the machine does meets all contestants of a turn alike, so only ratios within a turn are
judged; what is printed is their median, with the lowest and the highest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from rich.table import Table

from recsys.cost import wait_for

Contestants = Mapping[str, Callable[[], float]]
"""By name: trains once and returns the rate"""

Turns = Sequence[Mapping[str, float]]
"""Each turn's rates, by contestant"""

_CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True, slots=True)
class Goal:
    """A ratio of two contestants' rates that is wanted."""

    of: str
    to: str
    at_least: float


class Clock:
    """Takes the time of batches; a rate is of the second half, when all is warm and all are there.

    Call it with the number of examples trained since the last call.

    Args:
        device: that trains. The host runs ahead of a GPU, so the clock waits for it half-way and
            at the end.
        batches: of the run, each of which is a call: when that is.
    """

    def __init__(self, device: torch.device = _CPU, batches: int = 0) -> None:
        self._device = device
        self._waits = {-(-batches // 2), batches}
        self._times: list[float] = []
        self._examples: list[int] = []

    def __call__(self, examples: int) -> None:
        self._examples.append(examples)
        if len(self._examples) in self._waits:
            wait_for(self._device)
        self._times.append(time.perf_counter())

    def rate(self) -> float:
        """Return the examples per second of the second half of the examples."""
        trained = np.cumsum(self._examples)
        half = int(np.searchsorted(trained, trained[-1] / 2))
        return float((trained[-1] - trained[half]) / (self._times[-1] - self._times[half]))


def take(contestants: Contestants, count: int) -> Turns:
    """Let contestants take turns, ``count`` of them each."""
    return [{name: rate() for name, rate in contestants.items()} for _ in range(count)]


def rates(turns: Turns, unit: str = "examples/s") -> Table:
    """Return each contestant's median rate, with the lowest and the highest."""
    table = Table("contestant", f"{unit} [lowest, highest]")
    for name in turns[0]:
        found = [turn[name] for turn in turns]
        median, low, high = (_short(one) for one in (np.median(found), min(found), max(found)))
        table.add_row(name, f"{median} [{low}, {high}]")
    return table


def _short(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


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
