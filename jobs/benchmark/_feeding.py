"""How many workers the server store feeds before it saturates, and a model that says why.

Workers pull and push real windows' rows through the real dispatcher and shards, but sleep for the
time that a GPU would compute, so that many of them fit on one machine. What the windows of a lone
worker cost, of three lengths, is all that the model is made of; what many workers then do was not
looked at.
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

from distrib.engines.asynchronous.dispatcher import Dispatcher
from distrib.engines.asynchronous.leases import Lease, Ledger
from distrib.engines.asynchronous.messages import Report, Seconds, TrainingProgress
from distrib.engines.asynchronous.rpc import Pushing, StoreClient
from distrib.parameter_store.shard import Parameters, ShardServer, fresh, part_of
from distrib.training.device_transfer import Transfer
from distrib.training.windows import Prepared, Windows, WindowTrainer
from jobs.benchmark._criteo import recipe_of
from jobs.benchmark._store_model import Model, Use
from recsys.data.click_log import ClickLog
from recsys.data.stream import Stream
from recsys.seeds import Seeds

_WORKERS = (1, 2, 4, 8, 16, 32)
_PREDICTED = (64, 1024)
_KEPT = 3
"""Windows whose rows are kept, and pulled in turn"""
_START_S, _MEASURE_S = 1.0, 5.0
_MANY = 1 << 24


def measured(log: ClickLog, window: int, compute_s_per_batch: float) -> Iterable[Table]:
    """Yield what a lone worker's windows cost, what workers were fed, and what would be."""
    lengths = sorted({max(window // 8, 1), max(window // 2, 1), window})
    windows = [_Windows.of(log, length) for length in lengths]
    compute_s = window * compute_s_per_batch
    alone = {each.bytes: _run(each, 1, 1, 2 * compute_s).a_window() for each in windows}
    model = Model.fit(alone)
    yield _costs(model, alone)
    yield _fed(windows[-1], model, compute_s)
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
        pushed = client.pushed(pushing)
        prepared = pushing.pulling.prepared
        self._dispatcher.complete.remote(
            Report(
                lease=pushing.pulling.lease,
                batches=1,
                examples=prepared.examples,
                progressive_loss=0.0,
                lookups=(),
                staleness=pushed.staleness,
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
        ray.remote(_Dispatcher).options(num_cpus=0).remote(Ledger(_MANY), TrainingProgress(), tags)
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
    ratios: list[float] = []
    for shards in (1, 2):
        for workers in _WORKERS:
            use = _run(windows, workers, shards, compute_s)
            rate = use.windows / use.seconds
            predicted = model.rate(
                windows.bytes,
                workers=workers,
                shards=shards,
                compute_s=compute_s,
                cores=os.cpu_count() or 1,
            )
            ratios.append(rate / predicted)
            table.add_row(
                str(shards),
                str(workers),
                f"{rate:.1f}",
                f"{rate * compute_s / workers:.0%}",
                f"{predicted:.1f}",
                f"{rate / predicted:.2f}",
            )
    table.caption = (
        f"found ÷ predicted: median {np.median(ratios):.2f}, from {min(ratios):.2f} to "
        f"{max(ratios):.2f}"
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
            found = model.cluster(size, workers=workers, compute_s=length * compute_s_per_batch)
            table.add_row(
                f"{workers:,}",
                str(length),
                f"{size / 1e6:.1f}",
                f"{found.wanted:,.0f}",
                str(found.shards),
                f"{found.fed:.0%}",
                found.limit,
            )
    return table


def _batches(log: ClickLog) -> int:
    return Stream(log, "train", recipe_of({"name": "local"}).stream, [Seeds()]).batch_count
