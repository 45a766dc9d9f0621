"""Seconds from the SIGKILL of a process to full speed.

A training is let alone until a third of it is done; then a process of it is killed, and its
progress watched: the longest time without any, and the time until the end of the first span in
which as much is trained as 90 % of what an ordinary one brings. A span is a second, or ten windows
if that is longer, since progress comes in windows. Where a shard or the dispatcher of the server
store dies, all goes back to the last snapshot, so that training again what had been trained since
is part of both times.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import ray
from rich.table import Table

from distrib.engines.registry import train
from distrib.errors import TrialFailed
from jobs.benchmark._criteo import BATCH, recipe_of, trial_of
from recsys.config import Recipe
from recsys.data.click_log import ClickLog
from recsys.errors import ConfigError

_SNAPSHOTS = 10
"""That many in a training"""
_FULL = 0.9
_EPOCHS = 3
_PATIENCE_S = 300.0
_BEFORE_S = 5.0
"""Seconds before the kill over which the ordinary speed is taken"""
_SPAN_WINDOWS = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Recovered:
    """What a kill cost, in seconds since it."""

    standstill_s: float
    to_full_speed_s: float
    examples_per_second: float
    """Before"""


class Progress:
    """When how many examples had been trained; call it with how many more there are."""

    def __init__(self) -> None:
        self._moments: list[float] = []
        self._examples: list[int] = []

    def __call__(self, more: int) -> None:
        self.add(time.perf_counter(), more)

    def add(self, moment: float, more: int) -> None:
        """Take that so many more were trained at a moment."""
        self._moments.append(moment)
        self._examples.append(more)

    @property
    def total(self) -> int:
        return sum(self._examples)

    def rate(self, start: float, stop: float) -> float:
        """Return the examples per second of a span of time, or of the part of it with progress."""
        start = max(start, self._moments[0])
        return self._between(start, stop) / (stop - start)

    def longest_silence(self, start: float, stop: float) -> float:
        """Return the longest time without a report in a span of time."""
        inside = [moment for moment in self._moments if start < moment < stop]
        return float(np.diff([start, *inside, stop]).max())

    def back_at(self, rate: float, killed: float, now: float, span_s: float) -> float | None:
        """Return the end of the first span after the kill that is as fast as wanted, by now."""
        for start in np.arange(killed, now - span_s, 0.1):
            if self._between(start, start + span_s) >= _FULL * rate * span_s:
                return float(start) + span_s
        return None

    def _between(self, start: float, stop: float) -> int:
        told = zip(self._moments, self._examples, strict=True)
        return sum(more for moment, more in list(told) if start < moment <= stop)


def measured(log: ClickLog, place: Path, window: int, workers: int) -> Iterable[Table]:
    """Yield a table of who was killed and what that cost.

    Raises:
        ConfigError: in a cluster, where what is killed could be somebody else's.
    """
    if os.environ.get("RAY_ADDRESS"):
        raise ConfigError(
            "RAY_ADDRESS: found a cluster; expected none, since processes of the Ray that is there "
            "are killed (--part speed --part feeding run anywhere)"
        )
    table = Table(
        "store",
        "killed",
        "s without progress",
        "s to full speed",
        "examples/s before",
        title=f"From SIGKILL to full speed, {workers} workers",
    )
    windows = _EPOCHS * len(log.splits["train"]) // BATCH // window
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
            found = _recover(log, recipe, victim, _SPAN_WINDOWS * window * BATCH)
            table.add_row(
                store,
                victim,
                f"{found.standstill_s:.1f}",
                f"{found.to_full_speed_s:.1f}",
                f"{found.examples_per_second:,.0f}",
            )
    yield table


_VICTIMS = {"server": ("worker", "shard", "dispatcher"), "shared_memory": ("worker", "dispatcher")}


def _recover(log: ClickLog, recipe: Recipe, victim: str, span_examples: int) -> Recovered:
    progress, errors = Progress(), []
    whole = len(log.splits["train"]) * _EPOCHS

    def run() -> None:
        try:
            train(log, [trial_of(log, recipe)], on_progress=progress)
        except Exception as error:  # raised below, where someone sees it
            errors.append(error)

    # A daemon: a training that never ends must not keep this process from ending.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    _wait(lambda: progress.total > whole // 3, thread, errors)
    killed = time.perf_counter()
    rate = progress.rate(killed - _BEFORE_S, killed)
    span_s = max(1.0, span_examples / rate)
    os.kill(_process_of(victim), signal.SIGKILL)

    def back_at() -> float | None:
        return progress.back_at(rate, killed, time.perf_counter(), span_s)

    _wait(lambda: back_at() is not None, thread, errors)
    full = back_at()
    assert full is not None
    thread.join()
    if errors:
        raise errors[0]
    return Recovered(
        standstill_s=progress.longest_silence(killed, full),
        to_full_speed_s=full - killed,
        examples_per_second=rate,
    )


def _wait(
    happened: Callable[[], bool], thread: threading.Thread, errors: Sequence[Exception]
) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not happened():
        if errors:
            raise errors[0]
        if not thread.is_alive():
            raise ConfigError(
                "--batches: the training ended before it was at full speed again; expected more"
            )
        if time.monotonic() > deadline:
            raise TrialFailed(f"not at full speed again {_PATIENCE_S:g} s after the kill")
        time.sleep(0.05)


def _process_of(part: str) -> int:
    """Return the process of the first living actor of a training that is called so."""
    for each in ray.util.list_named_actors(all_namespaces=True):
        if each["name"].startswith("soloist-") and each["name"].split("/")[-1].startswith(part):
            actor = ray.get_actor(each["name"], namespace=each["namespace"])
            return int(ray._private.state.actors(actor._actor_id.hex())["Pid"])
    raise RuntimeError(f"no {part} is there")
