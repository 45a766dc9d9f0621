"""Async engine compared with the local one: speed, how many workers a store feeds, recovery.

Criteo's shape: 26 tables of 100,000 rows of 16, 13 dense features, towers 256-128-64, rowwise
Adagrad, batches of 1,024, one thread for each worker.

Recovery is measured in seconds after the SIGKILL of a process in the middle of a training: the
longest time without progress, and the time until a span reaches 90 % of the speed before. A span is
a second, or ten windows if that is longer, since progress is reported by window. After the crash of
a shard or of the server store's dispatcher, training resumes from the last snapshot, so both times
include training again what was lost.
"""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import ray
from rich.console import Console
from rich.table import Table
from typer import Option

from distrib.engines.registry import train
from distrib.errors import TrialFailed
from distrib.scheduling.session import ray_session
from jobs.benchmark import store_model
from jobs.benchmark.harness import PART, Goal, alternate, print_all, report
from jobs.benchmark.workloads import BATCH, recipe_of, train_once, trial_of, write_criteo_log
from recsys.config import Recipe
from recsys.data.click_log import ClickLog
from recsys.errors import ConfigError

Part = StrEnum("Part", ["SPEED", "FEEDING", "RECOVERY"])

_STEPS = ("prepare", "pull", "compute", "push", "wait", "shard")
_VICTIMS = [("server", role) for role in ("worker", "shard", "dispatcher")]
_VICTIMS += [("shared_memory", role) for role in ("worker", "dispatcher")]
_EPOCHS = 3
_SNAPSHOTS = 10
_FULL_SPEED = 0.9
_TIMEOUT_S = 300.0
_BEFORE_S = 5.0
"""Seconds before the kill in which the speed before is measured"""
_SPAN_WINDOWS = 10


def engines(
    part: Annotated[list[Part] | None, PART] = None,
    batches: Annotated[int, Option(min=64, help="Batches of a run.")] = 1600,
    window: Annotated[int, Option(min=1, help="Batches of a window, τ.")] = 16,
    turns: Annotated[int, Option(min=1, help="Runs of each engine.")] = 3,
    shards: Annotated[int, Option(min=1, help="Shards of the store.")] = 1,
    workers: Annotated[int, Option(min=2, help="Most workers that really train.")] = 2,
    step_ms: Annotated[
        float, Option(min=0, help="Milliseconds that workers sleep per batch, as if a GPU trained.")
    ] = 2.0,
) -> None:
    """Print examples/s and ratios to local, how many workers a store feeds, seconds to recover."""
    parts = set(part or Part)
    console = Console()
    with tempfile.TemporaryDirectory() as scratch, ray_session():
        log = write_criteo_log(Path(scratch) / "log", batches)
        if Part.SPEED in parts:
            _report_speed(console, log, window, shards, workers, turns)
        if Part.FEEDING in parts:
            print_all(console, store_model.tables(log, window, step_ms / 1000))
        if Part.RECOVERY in parts:
            console.print(recovery_table(log, Path(scratch), window, workers))


def _report_speed(
    console: Console, log: ClickLog, window: int, shards: int, workers: int, turns: int
) -> None:
    """Print the rate of each store with one worker and with several, and a worker's time."""
    recipes = {"local": recipe_of()}
    for store, settings in {"shared_memory": {}, "server": {"shards": shards}}.items():
        for count in (1, workers):
            engine = {"store": store, "window": window, "workers": count, **settings}
            recipes[f"{store}, {count}"] = recipe_of({"name": "async", **engine})
    provenance: dict[str, dict[str, Any]] = {}

    def run(name: str) -> float:
        rate, result = train_once(log, recipes[name])
        provenance[name] = result.provenance.get("workers", {})
        return rate

    goals = [
        Goal("shared_memory, 1", "local", at_least=0.95),
        Goal(f"shared_memory, {workers}", "shared_memory, 1", at_least=0.9 * workers),
        Goal("server, 1", "local", at_least=0.85),
        Goal(f"server, {workers}", "server, 1", at_least=0.8 * workers),
    ]
    found = alternate({name: partial(run, name) for name in recipes}, turns)
    report(console, found, goals, reference="local")
    table = Table("ms per window", *_STEPS, "MB pulled", "MB pushed")
    table.title = "A worker's time in the last turn; shard: CPU time of all shards"
    for name, of_worker in provenance.items():
        if of_worker:
            times = [f"{1000 * of_worker['seconds_per_window'][step]:.1f}" for step in _STEPS]
            sizes = [of_worker[f"bytes_{way}_per_window"] for way in ("pulled", "pushed")]
            table.add_row(name, *times, *(f"{size / 1e6:.1f}" for size in sizes))
    console.print(table)


class Progress:
    """Times at which examples were reported as trained; called with their number."""

    def __init__(self) -> None:
        self._reports: list[tuple[float, int]] = []

    def __call__(self, examples: int) -> None:
        self.add(time.perf_counter(), examples)

    def add(self, at: float, examples: int) -> None:
        self._reports.append((at, examples))

    def examples(self, start: float = -np.inf, stop: float = np.inf) -> int:
        """Return the examples reported in a span of time."""
        return sum(examples for at, examples in tuple(self._reports) if start < at <= stop)

    def rate(self, start: float, stop: float) -> float:
        """Return the examples per second of a span, or of its part after the first report."""
        start = max(start, self._reports[0][0])
        return self.examples(start, stop) / (stop - start)

    def longest_gap(self, start: float, stop: float) -> float:
        """Return the longest time without a report in a span."""
        inside = [at for at, _ in self._reports if start < at < stop]
        return float(np.diff([start, *inside, stop]).max())

    def recovered_at(self, rate: float, killed: float, now: float, span_s: float) -> float | None:
        """Return the end of the first span after the kill at full speed, None if there is none."""
        for start in np.arange(killed, now - span_s, 0.1):
            if self.examples(start, start + span_s) >= _FULL_SPEED * rate * span_s:
                return float(start) + span_s
        return None


def recovery_table(log: ClickLog, scratch: Path, window: int, workers: int) -> Table:
    """Kill each kind of process once and return the times to recover.

    Raises:
        ConfigError: on a cluster, where a process of another job could be killed.
    """
    if os.environ.get("RAY_ADDRESS"):
        raise ConfigError(
            "RAY_ADDRESS: found a cluster, expected none, since this part kills Ray processes "
            "(--part speed --part feeding run anywhere)"
        )
    table = Table("store", "killed", "s without progress", "s to full speed", "examples/s before")
    table.title = f"From SIGKILL to full speed, {workers} workers"
    windows = _EPOCHS * len(log.splits["train"]) // BATCH // window
    for store, victim in _VICTIMS:
        engine = {
            "name": "async",
            "store": store,
            "workers": workers,
            "start_with": workers,
            "window": window,
            "snapshots": str(scratch / f"{store}-{victim}"),
            "snapshot_every": max(windows // _SNAPSHOTS, 1),
        }
        recipe = recipe_of(engine, epochs=_EPOCHS)
        gap_s, recovery_s, rate = _recover(log, recipe, victim, _SPAN_WINDOWS * window * BATCH)
        table.add_row(store, victim, f"{gap_s:.1f}", f"{recovery_s:.1f}", f"{rate:,.0f}")
    return table


def _recover(
    log: ClickLog, recipe: Recipe, victim: str, span_examples: int
) -> tuple[float, float, float]:
    """Kill a process after a third of a training.

    Returns seconds without progress, seconds to full speed, and examples/s before.
    """
    progress = Progress()
    errors: list[Exception] = []

    def run() -> None:
        try:
            train(log, [trial_of(log, recipe)], on_progress=progress)
        except Exception as error:  # raised in the main thread
            errors.append(error)

    # A daemon: a training that never ends must not keep this process from ending.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def wait_until(condition: Callable[[], float | bool | None]) -> float:
        deadline = time.monotonic() + _TIMEOUT_S
        while not (value := condition()):
            if errors:
                raise errors[0]
            if not thread.is_alive():
                raise ConfigError("--batches: the training ended before recovery, expected more")
            if time.monotonic() > deadline:
                raise TrialFailed(f"not at full speed {_TIMEOUT_S:g} s after the kill")
            time.sleep(0.05)
        return value

    third = _EPOCHS * len(log.splits["train"]) // 3
    wait_until(lambda: progress.examples() > third)
    killed = time.perf_counter()
    rate = progress.rate(killed - _BEFORE_S, killed)
    span_s = max(1.0, span_examples / rate)
    os.kill(_pid_of(victim), signal.SIGKILL)
    full = wait_until(lambda: progress.recovered_at(rate, killed, time.perf_counter(), span_s))
    thread.join()
    if errors:
        raise errors[0]
    return progress.longest_gap(killed, full), full - killed, rate


def _pid_of(role: str) -> int:
    """Return the process of a training's first living actor with a role."""
    for each in ray.util.list_named_actors(all_namespaces=True):
        if each["name"].startswith("soloist-") and each["name"].split("/")[-1].startswith(role):
            actor = ray.get_actor(each["name"], namespace=each["namespace"])
            return int(ray._private.state.actors(actor._actor_id.hex())["Pid"])
    raise RuntimeError(f"found no {role}")
