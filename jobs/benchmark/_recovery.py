"""Seconds from the SIGKILL of a process to full speed.

A training is let alone until a third of it is done; then a process of it is killed, and its
progress watched: the longest time without any, and the time until the end of the first second in
which as much is trained as 90 % of an ordinary one. Where a shard or the dispatcher of the server
store dies, all goes back to the last snapshot, so that training again what had been trained since
is part of both times.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import ray
from rich.table import Table

from distrib.engines import train
from jobs.benchmark._criteo import recipe_of, trial_of
from recsys.config import Recipe
from recsys.data.click_log import ClickLog

_SNAPSHOTS = 10
"""That many in a training"""
_FULL = 0.9
_EPOCHS = 3
_PATIENCE_S = 300.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Recovered:
    """What a kill cost, in seconds since it."""

    standstill_s: float
    to_full_speed_s: float
    examples_per_second: float
    """Before"""


@dataclass(slots=True)
class _Progress:
    """When how many examples had been trained."""

    moments: list[float] = field(default_factory=list)
    examples: list[int] = field(default_factory=list)

    def __call__(self, more: int) -> None:
        self.moments.append(time.perf_counter())
        self.examples.append(more)

    @property
    def total(self) -> int:
        return sum(self.examples)

    def between(self, start: float, stop: float) -> int:
        """Return how many examples were reported in a span of time."""
        inside = (start < moment <= stop for moment in self.moments)
        return sum(n for n, is_in in zip(self.examples, inside, strict=False) if is_in)

    def longest_silence(self, start: float, stop: float) -> float:
        """Return the longest time without a report in a span of time."""
        inside = [moment for moment in self.moments if start < moment < stop]
        return float(np.diff([start, *inside, stop]).max())


def measured(log: ClickLog, place: Path, window: int, workers: int) -> Iterable[Table]:
    """Yield a table of who was killed and what that cost."""
    table = Table(
        "store",
        "killed",
        "s without progress",
        "s to full speed",
        "examples/s before",
        title=f"From SIGKILL to full speed, {workers} workers",
    )
    windows = _EPOCHS * len(log.splits["train"]) // 1024 // window
    for store, victims in _VICTIMS.items():
        for victim in victims:
            recipe = recipe_of(
                {
                    "name": "async",
                    "store": store,
                    "workers": workers,
                    "window": window,
                    "start_with": workers,
                    "snapshots": str(place / f"{store}-{victim}"),
                    "snapshot_every": max(windows // _SNAPSHOTS, 1),
                },
                epochs=_EPOCHS,
            )
            found = _recover(log, recipe, victim)
            table.add_row(
                store,
                victim,
                f"{found.standstill_s:.1f}",
                f"{found.to_full_speed_s:.1f}",
                f"{found.examples_per_second:,.0f}",
            )
    yield table


_VICTIMS = {"server": ("worker", "shard", "dispatcher"), "shared_memory": ("worker", "dispatcher")}


def _recover(log: ClickLog, recipe: Recipe, victim: str) -> Recovered:
    trial, progress = trial_of(log, recipe), _Progress()
    whole = len(log.splits["train"]) * _EPOCHS
    thread = threading.Thread(target=train, args=(log, [trial]), kwargs={"on_progress": progress})
    thread.start()
    try:
        _wait(lambda: progress.total > whole // 3, thread)
        killed = time.perf_counter()
        rate = progress.between(killed - 5, killed) / 5
        os.kill(_process_of(victim), signal.SIGKILL)
        before = len(progress.moments)
        _wait(lambda: len(progress.moments) > before + 2, thread)
        _wait(lambda: _full_speed_at(progress, killed, rate) is not None, thread)
    finally:
        thread.join()
    full = _full_speed_at(progress, killed, rate)
    assert full is not None
    return Recovered(
        standstill_s=progress.longest_silence(killed, full),
        to_full_speed_s=full - killed,
        examples_per_second=rate,
    )


def _full_speed_at(progress: _Progress, killed: float, rate: float) -> float | None:
    """Return the end of the first second after the kill that is as good as those before."""
    for start in np.arange(killed, time.perf_counter() - 1, 0.1):
        if progress.between(start, start + 1) >= _FULL * rate:
            return float(start) + 1
    return None


def _wait(happened: Any, thread: threading.Thread) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not happened():
        if not thread.is_alive() or time.monotonic() > deadline:
            raise RuntimeError(
                "the training ended before it was at full speed again: found too few batches, "
                "expected more (--batches)"
            )
        time.sleep(0.05)


def _process_of(part: str) -> int:
    """Return the process of the first living actor of a training that is called so."""
    for each in ray.util.list_named_actors(all_namespaces=True):
        if each["name"].startswith("soloist-") and each["name"].split("/")[-1].startswith(part):
            actor = ray.get_actor(each["name"], namespace=each["namespace"])
            return int(ray._private.state.actors(actor._actor_id.hex())["Pid"])
    raise RuntimeError(f"no {part} is there")
