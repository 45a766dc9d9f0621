"""Contestants measured in alternation, and whether the ratios of their rates reach a goal.

Load from other processes affects all contestants of a turn alike, so goals are judged on the ratios
within a turn: their median is printed with the lowest and the highest.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

from distrib.trials.results import machine
from recsys.cost import wait_for

CPU = torch.device("cpu")
PART = typer.Option(help="Measure only this part; can be repeated.")

Contestants = Mapping[str, Callable[[], float]]
"""By name: a function that trains once and returns the rate"""

Turns = Sequence[Mapping[str, float]]
"""The rates of each turn, by contestant"""


@dataclass(frozen=True, slots=True)
class Goal:
    """The ratio of two contestants' rates to reach."""

    contestant: str
    reference: str
    at_least: float


class Throughput:
    """Measures examples/s over the second half of a run, when caches are warm and workers started.

    Call it after each batch with the number of examples trained since the last call.

    Args:
        device: that trains. A GPU runs asynchronously, so it is synchronized half-way and at the
            end.
        batches: of the run, to know when that is.
    """

    def __init__(self, device: torch.device = CPU, batches: int = 0) -> None:
        self._device = device
        self._synchronize_at = {-(-batches // 2), batches}
        self._times: list[float] = []
        self._examples: list[int] = []

    def __call__(self, examples: int) -> None:
        self._examples.append(examples)
        if len(self._examples) in self._synchronize_at:
            wait_for(self._device)
        self._times.append(time.perf_counter())

    def rate(self) -> float:
        """Return the examples per second of the second half of the examples."""
        trained = np.cumsum(self._examples)
        half = int(np.searchsorted(trained, trained[-1] / 2))
        return float((trained[-1] - trained[half]) / (self._times[-1] - self._times[half]))


def alternate(contestants: Contestants, turns: int) -> Turns:
    """Run each contestant once per turn."""
    return [{name: run() for name, run in contestants.items()} for _ in range(turns)]


def ratios(turns: Turns, contestant: str, reference: str) -> list[float]:
    """Return the ratio of two contestants' rates in each turn."""
    return [turn[contestant] / turn[reference] for turn in turns]


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """Return ``median [lowest, highest]``."""
    return f"{np.median(values):{form}} [{min(values):{form}}, {max(values):{form}}]"


def rates_table(turns: Turns, unit: str = "examples/s", reference: str | None = None) -> Table:
    """Return each contestant's rate, and its ratio to a reference contestant's if there is one."""
    table = Table("contestant", f"{unit}: median (lowest, highest)")
    if reference:
        table.add_column(f"ratio to {reference}")
    for name in turns[0]:
        rates = [turn[name] for turn in turns]
        relative = [spread(ratios(turns, name, reference))] if reference else []
        table.add_row(name, spread(rates, ",.0f" if np.median(rates) >= 100 else ".3g"), *relative)
    return table


def goals_table(turns: Turns, goals: Sequence[Goal]) -> Table:
    """Return each goal and the ratio found; a goal whose contestant did not run stays open."""
    table = Table("ratio of rates", "wanted", "found: median (lowest, highest)", "")
    for goal in goals:
        found, verdict = "", "not measured"
        if {goal.contestant, goal.reference} <= turns[0].keys():
            measured = ratios(turns, goal.contestant, goal.reference)
            found = spread(measured)
            verdict = "reached" if np.median(measured) >= goal.at_least else "missed"
        name = f"{goal.contestant} ÷ {goal.reference}"
        table.add_row(name, f"≥ {goal.at_least:.3g}", found, verdict)
    return table


def report(
    console: Console,
    turns: Turns,
    goals: Sequence[Goal],
    unit: str = "examples/s",
    reference: str | None = None,
) -> None:
    """Print the rates and the goals."""
    print_all(console, [rates_table(turns, unit, reference), goals_table(turns, goals)])


def print_all(console: Console, tables: Iterable[Table]) -> None:
    """Print tables one by one, each as soon as it is measured."""
    for table in tables:
        console.print(table)


def environment(device: torch.device) -> str:
    """Return the machine and the versions that measurements hold for."""
    found = machine(device)
    parts = [found["accelerator"], found["processor"], found["cpu_capability"]]
    parts += [f"{found['cpus']} CPUs", f"PyTorch {torch.__version__}", f"CUDA {torch.version.cuda}"]
    return ", ".join(filter(None, [*parts, f"Python {platform.python_version()}"]))


@contextmanager
def matmul_precision(precision: str) -> Iterator[None]:
    """Set the precision of float32 matrix products within the block."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
