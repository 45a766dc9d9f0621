"""How many workers the server store feeds before it saturates, and a model that says why.

Workers pull and push real windows' rows through the real dispatcher and shards, but sleep for the
time that a GPU would compute, so that many of them fit on one machine. The model knows what one
lone worker's windows cost: each process's CPU time for a window, a fixed part and a part for every
byte. From that it predicts the rate of W workers as the least of

    W / (compute + a worker's own time)       workers are the limit
    1 / (a shard's time for its part)         a shard is the limit
    cores / (all processes' time)             this machine is the limit

and, for a cluster on which every process has a core of its own, the rates of 64 and 1,024 workers.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from rich.table import Table

from distrib.async_engine.client import Pushing, StoreClient
from distrib.async_engine.dispatcher import Dispatcher
from distrib.async_engine.messages import Report, Seconds, Seen
from distrib.async_engine.shard_server import ShardServer
from distrib.leases import Lease, Ledger
from distrib.store.parameters import Parameters, part_of
from distrib.store.shard import fresh
from distrib.transfer import Transfer
from distrib.window_trainer import WindowTrainer
from distrib.window_training import Prepared
from distrib.windows import Windows
from jobs.benchmark._criteo import recipe_of
from recsys.data.click_log import ClickLog
from recsys.data.stream import Stream
from recsys.seeds import Seeds

_WORKERS = (1, 2, 4, 8, 16, 32)
_PREDICTED = (64, 1024)
_KEPT = 3
"""Windows whose rows are kept, and pulled in turn"""
_START_S, _MEASURE_S = 1.0, 5.0
_NETWORK_BYTES_PER_S = 25e9 / 8
_MANY = 1 << 24


@dataclass(frozen=True, kw_only=True, slots=True)
class Use:
    """CPU seconds of processes, and windows trained."""

    windows: float
    shard: float
    """The busiest shard's"""
    shards: float
    worker: float
    dispatcher: float
    machine: float
    """Of all processes, Ray's own too"""
    seconds: float

    def a_window(self) -> Use:
        """Return what one window takes."""
        n = self.windows
        return Use(
            windows=1,
            shard=self.shard / n,
            shards=self.shards / n,
            worker=self.worker / n,
            dispatcher=self.dispatcher / n,
            machine=self.machine / n,
            seconds=self.seconds / n,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A cost that grows with bytes."""

    fixed_s: float
    s_per_byte: float

    def __call__(self, size: float) -> float:
        return self.fixed_s + self.s_per_byte * size


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """What one window costs, by its bytes pulled and pushed."""

    shard: Line
    """One shard's time for its part of a window"""
    worker: Line
    machine: Line
    """All processes' time, on one machine"""
    dispatcher_s: float

    def rate(self, size: float, *, workers: int, shards: int, compute_s: float) -> float:
        """Return windows/s on this machine."""
        more_calls = (shards - 1) * self.shard.fixed_s
        return min(
            workers / (compute_s + self.worker(size)),
            1 / self.shard(size / shards),
            (os.cpu_count() or 1) / (self.machine(size) + more_calls),
        )


def measured(log: ClickLog, window: int, compute_s_per_batch: float) -> Iterable[Table]:
    """Yield what a lone worker's windows cost, what workers were fed, and what would be."""
    whole, small = _Windows.of(log, window), _Windows.of(log, max(window // 4, 1))
    compute_s = window * compute_s_per_batch
    alone = {each.bytes: _run(each, 1, 1, 2 * compute_s).a_window() for each in (small, whole)}
    model = _fit(alone)
    yield _costs(model, alone)
    yield _fed(whole, model, compute_s)
    yield _cluster(log, model, window, compute_s_per_batch)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Windows:
    """Real windows of one length."""

    prepared: tuple[Prepared, ...]
    parameters: Parameters
    """All of a replica's, zeros"""
    bytes: float
    """Pulled and pushed, on average"""

    @classmethod
    def of(cls, log: ClickLog, length: int, kept: int = _KEPT) -> _Windows:
        recipe = recipe_of({"name": "async", "window": length})
        stream = Stream(log, "train", recipe.stream, [Seeds()])
        trainer = WindowTrainer(
            recipe,
            log.schema,
            [Seeds()],
            recipe.arm.phases[0],
            batch_count=stream.batch_count,
            transfer=Transfer(torch.device("cpu")),
        )
        windows = Windows(stream.batch_count, length)
        prepared = tuple(
            trainer.prepare(one, list(stream.batches(one.first_batch, one.last_batch)))
            for one in (windows[number] for number in range(min(kept, len(windows))))
        )
        layout = trainer.layout
        records = [slab.width + slab.state for slab in layout.slabs]
        sizes = [
            sum(4 * len(rows) * width for rows, width in zip(each.rows[0], records, strict=True))
            + 4 * layout.dense * layout.dense_parts
            for each in prepared
        ]
        return cls(
            prepared=prepared,
            parameters=Parameters(
                slabs=tuple(
                    np.zeros((slab.rows, width), np.float32)
                    for slab, width in zip(layout.slabs, records, strict=True)
                ),
                dense=np.zeros((layout.dense_parts, layout.dense), np.float32),
            ),
            bytes=2 * float(np.mean(sizes)),
        )

    def rows(self) -> list[tuple[Any, ...]]:
        return [each.rows[0] for each in self.prepared]


class _Shard(ShardServer):
    def cpu_s(self) -> float:
        return time.process_time()


class _Dispatcher(Dispatcher):
    def cpu_s(self) -> float:
        return time.process_time()


class _Sleepers:
    """Workers, a thread each, whose training is a sleep."""

    def __init__(
        self, prepared: Sequence[Prepared], dispatcher: Any, shards: Sequence[Any], compute_s: float
    ) -> None:
        self._prepared = prepared
        self._dispatcher = dispatcher
        self._shards = shards
        self._compute_s = compute_s
        self._ended = threading.Event()
        self._windows = count()
        self._threads: list[threading.Thread] = []
        self.trained = 0

    def start(self, workers: int) -> None:
        for number in range(workers):
            thread = threading.Thread(target=self._work, args=(f"sleeper-{number}",))
            thread.start()
            self._threads.append(thread)

    def use(self) -> tuple[float, int]:
        """Return this process's CPU seconds, and the windows trained."""
        return time.process_time(), self.trained

    def stop(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _work(self, name: str) -> None:
        client = StoreClient(self._shards)
        lease: Lease = ray.get(self._dispatcher.next.remote(name))
        ahead = client.pull(lease, self._rows_of(lease))
        settling: Pushing | None = None
        while not self._ended.is_set():
            current, asked = ahead, self._dispatcher.next.remote(name)
            parameters, since = client.pulled(current)
            lease = ray.get(asked)
            ahead = client.pull(lease, self._rows_of(lease))
            time.sleep(self._compute_s)
            pushing = client.push(current, parameters, since, None)
            if settling is not None:
                self._settle(client, settling)
            settling = pushing

    def _rows_of(self, lease: Lease) -> Prepared:
        return self._prepared[lease.window % len(self._prepared)]

    def _settle(self, client: StoreClient, pushing: Pushing) -> None:
        staleness = client.pushed(pushing)
        prepared = pushing.pulling.prepared
        self._dispatcher.complete.remote(
            Report(
                lease=pushing.pulling.lease,
                batches=1,
                examples=prepared.examples,
                progressive_loss=0.0,
                lookups=(),
                staleness=staleness,
                bytes_pulled=pushing.change.bytes,
                bytes_pushed=pushing.change.bytes,
                seconds=Seconds(),
            )
        )
        self.trained += 1  # of many threads, each adds under the interpreter's lock


def _run(windows: _Windows, workers: int, shards: int, compute_s: float) -> Use:
    """Let workers pull and push for some seconds; return what everyone used meanwhile."""
    tags = {"trial": "benchmark", "run": "feeding"}
    dispatcher: Any = (
        ray.remote(_Dispatcher).options(num_cpus=0).remote(Ledger(_MANY), Seen(), tags)
    )
    servers: list[Any] = [
        ray.remote(_Shard)
        .options(num_cpus=0)
        .remote(fresh(part_of(windows.parameters, shard, shards)), False)
        for shard in range(shards)
    ]
    sleepers: Any = (
        ray.remote(_Sleepers)
        .options(num_cpus=0, max_concurrency=4)
        .remote(windows.prepared, dispatcher, servers, compute_s)
    )
    try:
        ray.get([each.cpu_s.remote() for each in (dispatcher, *servers)])
        ray.get(sleepers.start.remote(workers))
        time.sleep(_START_S + 2 * compute_s)
        before = _reading(sleepers, dispatcher, servers)
        time.sleep(_MEASURE_S)
        after = _reading(sleepers, dispatcher, servers)
        ray.get(sleepers.stop.remote())
    finally:
        for actor in (sleepers, dispatcher, *servers):
            ray.kill(actor)
    used = after - before
    return Use(
        seconds=used[0],
        machine=used[1],
        worker=used[2],
        windows=used[3],
        dispatcher=used[4],
        shard=used[5:].max(),
        shards=used[5:].sum(),
    )


def _reading(sleepers: Any, dispatcher: Any, shards: Sequence[Any]) -> Any:
    worker_s, trained = ray.get(sleepers.use.remote())
    cpu_s = ray.get([each.cpu_s.remote() for each in (dispatcher, *shards)])
    return np.array([time.perf_counter(), _cpu_s_of_all(), worker_s, trained, *cpu_s])


def _cpu_s_of_all() -> float:
    """Return the CPU seconds of this process and of all that it started, Ray's own too."""
    parents, used = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        pid = int(stat.parent.name)
        parents[pid], used[pid] = int(fields[1]), int(fields[11]) + int(fields[12])
    ours = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in ours} - ours:
        ours |= more
    return sum(used[pid] for pid in ours) / os.sysconf("SC_CLK_TCK")


def _fit(alone: dict[float, Use]) -> Model:
    return Model(
        shard=_line({size: use.shard for size, use in alone.items()}),
        worker=_line({size: use.worker for size, use in alone.items()}),
        machine=_line({size: use.machine for size, use in alone.items()}),
        dispatcher_s=float(np.mean([use.dispatcher for use in alone.values()])),
    )


def _line(points: dict[float, float]) -> Line:
    slope, fixed = np.polyfit(list(points), list(points.values()), 1)
    return Line(fixed_s=max(float(fixed), 0.0), s_per_byte=float(slope))


def _costs(model: Model, alone: dict[float, Use]) -> Table:
    table = Table(
        "CPU ms for a window",
        *(f"{size / 1e6:.1f} MB" for size in alone),
        "fixed",
        "a MB",
        title="What the windows of a lone worker cost (pulled and pushed together)",
    )
    for name, line in (("shard", model.shard), ("worker", model.worker), ("all", model.machine)):
        key = {"shard": "shard", "worker": "worker", "all": "machine"}[name]
        table.add_row(
            name,
            *(f"{1000 * getattr(use, key):.1f}" for use in alone.values()),
            f"{1000 * line.fixed_s:.2f}",
            f"{1e9 * line.s_per_byte:.2f}",
        )
    table.add_row("dispatcher", *(f"{1000 * use.dispatcher:.1f}" for use in alone.values()))
    return table


def _fed(windows: _Windows, model: Model, compute_s: float) -> Table:
    table = Table(
        "shards",
        "workers",
        "windows/s",
        "of what they could",
        "predicted",
        "found ÷ predicted",
        title=f"Workers that sleep {1000 * compute_s:.0f} ms a window",
    )
    for shards in (1, 2):
        for workers in _WORKERS:
            use = _run(windows, workers, shards, compute_s)
            rate = use.windows / use.seconds
            predicted = model.rate(
                windows.bytes, workers=workers, shards=shards, compute_s=compute_s
            )
            table.add_row(
                str(shards),
                str(workers),
                f"{rate:.1f}",
                f"{rate * compute_s / workers:.0%}",
                f"{predicted:.1f}",
                f"{rate / predicted:.2f}",
            )
    return table


def _cluster(log: ClickLog, model: Model, window: int, compute_s_per_batch: float) -> Table:
    """Predict clusters: what shards are needed, and which share of the workers' time is used."""
    table = Table(
        "workers",
        "τ",
        "MB a window",
        "windows/s wanted",
        "shards",
        "fed",
        "limit",
        title="Predicted for a cluster, with a core and 25 Gbit/s for each process",
    )
    lengths = [n * window for n in (1, 4, 16) if n * window <= _batches(log)]
    sizes = {length: _Windows.of(log, length, 1).bytes for length in lengths}
    for workers in _PREDICTED:
        for length, size in sizes.items():
            compute_s = length * compute_s_per_batch + model.worker(size)
            wanted = workers / compute_s
            shards = _shards_for(model, size, wanted)
            limits = {
                "shard calls": 1 / _shard_s(model, size, shards),
                "dispatcher": 1 / model.dispatcher_s,
                "workers": wanted,
            }
            limit = min(limits, key=lambda name: limits[name])
            table.add_row(
                f"{workers:,}",
                str(length),
                f"{size / 1e6:.1f}",
                f"{wanted:,.0f}",
                str(shards),
                f"{limits[limit] / wanted:.0%}",
                limit,
            )
    return table


def _batches(log: ClickLog) -> int:
    return Stream(log, "train", recipe_of({"name": "local"}).stream, [Seeds()]).batch_count


def _shards_for(model: Model, size: float, wanted: float) -> int:
    """Return the fewest shards that serve so many windows/s, or that more would not help much."""
    most = 1024
    enough = (n for n in range(1, most) if 1 / _shard_s(model, size, n) >= wanted)
    nearly = (
        n for n in range(1, most) if _shard_s(model, size, n) <= 1.1 * _shard_s(model, size, most)
    )
    return next(enough, next(nearly, most))


def _shard_s(model: Model, size: float, shards: int) -> float:
    """Return how long a shard is busy, or its network (both directions at once), with a window."""
    return max(model.shard(size / shards), size / 2 / shards / _NETWORK_BYTES_PER_S)
