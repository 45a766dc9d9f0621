"""How many workers the server store can feed before it saturates, and a model that predicts it.

Workers pull and push real windows' rows through the real dispatcher and shards, but sleep instead
of computing, so that many of them fit on one machine. The model is fitted to a single worker, with
windows of three lengths. It predicts the rate of W workers as the least of

    W / (compute + a worker's own time)       workers are the limit
    1 / (a shard's time for its part)         a shard is the limit
    cores / (all processes' time)             the machine is the limit

and on a cluster, where every process has its own core, of the first two and of what the dispatcher
can grant. Each time has a fixed part and a part for every byte.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import ray
from numpy.polynomial import Polynomial
from rich.table import Table

from distrib.engines.asynchronous.dispatcher import Dispatcher
from distrib.engines.asynchronous.leases import Lease, Ledger
from distrib.engines.asynchronous.messages import Report, Seconds, TrainingProgress
from distrib.engines.asynchronous.rpc import Pushing, StoreClient
from distrib.parameter_store.shard import Parameters, ShardServer, fresh, part_of
from distrib.training.device_transfer import Transfer
from distrib.training.windows import Prepared, Windows, WindowTrainer
from jobs.benchmark.harness import CPU, spread
from jobs.benchmark.workloads import recipe_of
from recsys.data.click_log import ClickLog
from recsys.data.stream import Stream
from recsys.seeds import Seeds

NETWORK_BYTES_PER_S = 25e9 / 8
_WORKERS = (1, 2, 4, 8, 16, 32)
_PREDICTED_WORKERS = (64, 1024)
_MAX_SHARDS = 1024
_SATURATED = 1.1
"""Shards within this factor of the time with the most shards are enough"""
_KEPT_WINDOWS = 3
"""Windows whose rows are kept, and pulled in turn"""
_START_S, _MEASURE_S = 1.0, 5.0
_UNLIMITED_WINDOWS = 1 << 24


class Usage(NamedTuple):
    """CPU seconds of processes, and the windows trained meanwhile."""

    seconds: float
    """Wall time"""
    machine: float
    """Of all processes, Ray's included"""
    worker: float
    windows: float
    dispatcher: float
    shard: float
    """The busiest shard's"""

    def per_window(self) -> Usage:
        """Return the usage of one window."""
        return Usage(*(value / self.windows for value in self))


class Cluster(NamedTuple):
    """A cluster as predicted."""

    wanted: float
    """Windows/s that its workers could train"""
    shards: int
    limit: str
    fed: float
    """Share of ``wanted`` that they get"""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreModel:
    """CPU seconds of one window: linear functions of its bytes pulled and pushed."""

    shard: Polynomial
    """One shard's time for its part of a window"""
    worker: Polynomial
    machine: Polynomial
    """All processes' time, on one machine"""
    dispatcher_s: float

    @classmethod
    def fit(cls, measured: Mapping[float, Usage]) -> StoreModel:
        """Fit a single worker's usage per window, by the bytes of a window."""
        usages = measured.values()

        def cost(seconds: list[float]) -> Polynomial:
            slope, fixed = np.polyfit(list(measured), seconds, 1)
            return Polynomial([max(fixed, 0.0), max(slope, 0.0)])

        return cls(
            shard=cost([usage.shard for usage in usages]),
            worker=cost([usage.worker for usage in usages]),
            machine=cost([usage.machine for usage in usages]),
            dispatcher_s=float(np.mean([usage.dispatcher for usage in usages])),
        )

    def rate(
        self, size: float, *, workers: int, shards: int, compute_s: float, cores: int
    ) -> float:
        """Return windows/s on one machine."""
        more_calls = (shards - 1) * self.shard(0)
        return min(
            workers / (compute_s + self.worker(size)),
            1 / self.shard(size / shards),
            cores / (self.machine(size) + more_calls),
        )

    def shard_s(self, size: float, shards: int) -> float:
        """Return how long a window occupies a shard, or its full-duplex network."""
        return max(self.shard(size / shards), size / 2 / shards / NETWORK_BYTES_PER_S)

    def cluster(self, size: float, *, workers: int, compute_s: float) -> Cluster:
        """Return the fewest shards that feed all workers, or that more would hardly improve."""
        wanted = workers / (compute_s + self.worker(size))
        times = {shards: self.shard_s(size, shards) for shards in range(1, _MAX_SHARDS + 1)}
        enough = (shards for shards, time_s in times.items() if 1 / time_s >= wanted)
        longest = _SATURATED * times[_MAX_SHARDS]
        saturated = (shards for shards, time_s in times.items() if time_s <= longest)
        shards = next(enough, next(saturated))
        limits = {
            "shard calls": 1 / times[shards],
            "dispatcher": 1 / self.dispatcher_s,
            "workers": wanted,
        }
        limit = min(limits, key=lambda name: limits[name])
        return Cluster(wanted=wanted, shards=shards, limit=limit, fed=limits[limit] / wanted)


def tables(log: ClickLog, window: int, compute_s_per_batch: float) -> Iterator[Table]:
    """Yield the cost of a single worker's windows, saturation on this machine, predictions."""
    lengths = sorted({max(window // 8, 1), max(window // 2, 1), window})
    samples = [_WindowSample.of(log, length) for length in lengths]
    compute_s = window * compute_s_per_batch
    costs = {sample.bytes: _run(sample, 1, 1, 2 * compute_s).per_window() for sample in samples}
    model = StoreModel.fit(costs)
    yield _cost_table(model, costs)
    yield _saturation_table(samples[-1], model, compute_s)
    yield _cluster_table(log, model, window, compute_s_per_batch)


class _WindowSample(NamedTuple):
    """Real windows of one length."""

    prepared: tuple[Prepared, ...]
    parameters: Parameters
    """All of one replica, zeros"""
    bytes: float
    """Pulled and pushed, on average"""

    @classmethod
    def of(cls, log: ClickLog, length: int, count: int = _KEPT_WINDOWS) -> _WindowSample:
        recipe = recipe_of({"name": "async", "window": length})
        stream = Stream(log, "train", recipe.stream, [Seeds()])
        trainer = WindowTrainer(
            recipe,
            log.schema,
            [Seeds()],
            recipe.arm.phases[0],
            batch_count=stream.batch_count,
            transfer=Transfer(CPU),
        )
        prepared = tuple(
            trainer.prepare(window, list(stream.batches(window.first_batch, window.last_batch)))
            for window in itertools.islice(Windows(stream.batch_count, length), count)
        )
        layout = trainer.layout
        dense = np.zeros((layout.dense_parts, layout.dense), np.float32)
        widths = [slab.width + slab.state for slab in layout.slabs]
        sizes = [
            sum(4 * len(rows) * width for rows, width in zip(each.rows[0], widths, strict=True))
            for each in prepared
        ]
        slabs = tuple(
            np.zeros((slab.rows, width), np.float32)
            for slab, width in zip(layout.slabs, widths, strict=True)
        )
        size = 2 * (float(np.mean(sizes)) + dense.nbytes)
        return cls(prepared, Parameters(slabs=slabs, dense=dense), size)


class _CpuTime:
    def cpu_s(self) -> float:
        return time.process_time()


class _Shard(_CpuTime, ShardServer):
    pass


class _Dispatcher(_CpuTime, Dispatcher):
    pass


class _SleepingWorkers(_CpuTime):
    """Workers, a thread each, that sleep where a worker would train."""

    def __init__(
        self, prepared: Sequence[Prepared], dispatcher: Any, shards: Sequence[Any], compute_s: float
    ) -> None:
        self._prepared = prepared
        self._dispatcher = dispatcher
        self._shards = shards
        self._compute_s = compute_s
        self._stopped = threading.Event()
        self._trained = 0

    def start(self, workers: int) -> None:
        self._pool = ThreadPoolExecutor(workers)
        for number in range(workers):
            self._pool.submit(self._work, f"sleeper-{number}")

    def trained(self) -> int:
        return self._trained

    def stop(self) -> None:
        self._stopped.set()
        self._pool.shutdown()

    def _work(self, name: str) -> None:
        client = StoreClient(self._shards)
        lease: Lease = ray.get(self._dispatcher.next.remote(name))
        next_pull = client.pull(lease, self._rows_of(lease))
        last_push: Pushing | None = None
        while not self._stopped.is_set():
            pull, request = next_pull, self._dispatcher.next.remote(name)
            parameters, since = client.pulled(pull)
            lease = ray.get(request)
            next_pull = client.pull(lease, self._rows_of(lease))
            time.sleep(self._compute_s)
            push = client.push(pull, parameters, since, None)
            if last_push is not None:
                self._complete(client, last_push)
            last_push = push

    def _rows_of(self, lease: Lease) -> Prepared:
        return self._prepared[lease.window % len(self._prepared)]

    def _complete(self, client: StoreClient, push: Pushing) -> None:
        report = Report(
            lease=push.pulling.lease,
            batches=1,
            examples=push.pulling.prepared.examples,
            progressive_loss=0.0,
            lookups=(),
            staleness=client.pushed(push).staleness,
            bytes_pulled=push.change.bytes,
            bytes_pushed=push.change.bytes,
            seconds=Seconds(),
        )
        self._dispatcher.complete.remote(report)
        self._trained += 1  # by many threads, each under the interpreter's lock


def _run(sample: _WindowSample, workers: int, shards: int, compute_s: float) -> Usage:
    """Let workers pull and push for some seconds; return the usage meanwhile."""

    def actor(cls: type, *arguments: object, threads: int = 1) -> Any:
        remote: Any = ray.remote(cls)
        return remote.options(num_cpus=0, max_concurrency=threads).remote(*arguments)

    tags = {"trial": "benchmark", "run": "feeding"}
    dispatcher = actor(_Dispatcher, Ledger(_UNLIMITED_WINDOWS), TrainingProgress(), tags)
    parts = [part_of(sample.parameters, shard, shards) for shard in range(shards)]
    servers = [actor(_Shard, fresh(part), False) for part in parts]
    sleepers = actor(_SleepingWorkers, sample.prepared, dispatcher, servers, compute_s, threads=4)
    actors = [sleepers, dispatcher, *servers]

    def reading() -> Any:
        trained = ray.get(sleepers.trained.remote())
        worker_s, *cpu_s = ray.get([each.cpu_s.remote() for each in actors])
        return np.array([time.perf_counter(), _cpu_s_of_all(), worker_s, trained, *cpu_s])

    try:
        ray.get([each.cpu_s.remote() for each in actors])
        ray.get(sleepers.start.remote(workers))
        time.sleep(_START_S + 2 * compute_s)
        before = reading()
        time.sleep(_MEASURE_S)
        used = reading() - before
        ray.get(sleepers.stop.remote())
    finally:
        for each in actors:
            ray.kill(each)
    return Usage._make([*used[:5], used[5:].max()])


def _cpu_s_of_all() -> float:
    """Return the CPU seconds of this process and its descendants, Ray's included."""
    parents, used = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # the process has ended
        pid = int(stat.parent.name)
        parents[pid], used[pid] = int(fields[1]), int(fields[11]) + int(fields[12])
    tree = {os.getpid()}
    while children := {pid for pid, parent in parents.items() if parent in tree} - tree:
        tree |= children
    return sum(used[pid] for pid in tree) / os.sysconf("SC_CLK_TCK")


def _cost_table(model: StoreModel, costs: Mapping[float, Usage]) -> Table:
    sizes = [f"{size / 1e6:.1f} MB" for size in costs]
    table = Table("CPU ms per window", *sizes, "fixed", "per MB")
    table.title = "CPU time of a single worker's windows (pulled and pushed together)"
    parts = {"shard": model.shard, "worker": model.worker, "machine": model.machine}
    for name, cost in parts.items():
        cells = [f"{1000 * getattr(usage, name):.1f}" for usage in costs.values()]
        fixed_s, s_per_byte = cost.coef.tolist()
        table.add_row(name, *cells, f"{1000 * fixed_s:.2f}", f"{1e9 * s_per_byte:.2f}")
    table.add_row("dispatcher", *(f"{1000 * usage.dispatcher:.1f}" for usage in costs.values()))
    return table


def _saturation_table(sample: _WindowSample, model: StoreModel, compute_s: float) -> Table:
    headings = ("shards", "workers", "windows/s", "used of workers' time", "predicted")
    table = Table(*headings, "found ÷ predicted")
    table.title = f"Workers that sleep {1000 * compute_s:.0f} ms per window"
    ratios = []
    for shards, workers in itertools.product((1, 2), _WORKERS):
        usage = _run(sample, workers, shards, compute_s)
        rate, cores = usage.windows / usage.seconds, os.cpu_count() or 1
        predicted = model.rate(
            sample.bytes, workers=workers, shards=shards, compute_s=compute_s, cores=cores
        )
        ratios.append(rate / predicted)
        rates = (f"{rate:.1f}", f"{rate * compute_s / workers:.0%}", f"{predicted:.1f}")
        table.add_row(str(shards), str(workers), *rates, f"{ratios[-1]:.2f}")
    table.caption = f"found ÷ predicted: {spread(ratios)}"
    return table


def _cluster_table(
    log: ClickLog, model: StoreModel, window: int, compute_s_per_batch: float
) -> Table:
    """Predict the shards that a cluster needs, and the share of the workers' time that is used."""
    table = Table("workers", "τ", "MB per window", "windows/s wanted", "shards", "fed", "limit")
    table.title = "Predicted for a cluster, with a core and 25 Gbit/s for each process"
    batches = Stream(log, "train", recipe_of().stream, [Seeds()]).batch_count
    lengths = [n * window for n in (1, 4, 16) if n * window <= batches]
    sizes = {length: _WindowSample.of(log, length, 1).bytes for length in lengths}
    for workers, length in itertools.product(_PREDICTED_WORKERS, lengths):
        size, compute_s = sizes[length], length * compute_s_per_batch
        found = model.cluster(size, workers=workers, compute_s=compute_s)
        numbers = (f"{size / 1e6:.1f}", f"{found.wanted:,.0f}", str(found.shards))
        table.add_row(f"{workers:,}", str(length), *numbers, f"{found.fed:.0%}", found.limit)
    return table
