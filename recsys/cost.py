"""The cost of an arm: embedding lookups, parameters, FLOPs and latency."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode
from torchrec.modules.embedding_configs import EmbeddingBagConfig
from torchrec.sparse.jagged_tensor import KeyedTensor

from recsys.config import OptimizerConfig
from recsys.data.batch import Batch
from recsys.module import Arm, evaluating, served_logits

FLOAT_BYTES = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Lookups:
    """Embedding rows read for one example, over all tables and components."""

    per_example: float
    bytes_per_example: float
    unique_rows_per_batch: float
    """Distinct (table, row) pairs read by one replica's mini-batch."""


def sampling_interval(count: int) -> int:
    """Return n such that every n-th of ``count`` items gives a sample of about 16."""
    return max(count // 16, 1)


class LookupCounter:
    """Counts embedding rows read.

    Distinct rows are counted in every ``unique_every``-th batch only, since that needs a sort.
    """

    def __init__(self, unique_every: int | None = 1) -> None:
        self._unique_every = unique_every
        self._batches = self._unique_batches = 0
        self._examples = self._rows = self._bytes = self._unique = 0

    def count(
        self, tables: Sequence[EmbeddingBagConfig], batch: Batch, *, again: bool = False
    ) -> None:
        """Count the rows that ``tables`` read for a batch of all replicas, preferably on the CPU.

        ``again``: another phase counts the examples.
        """
        lengths = dict(zip(batch.sparse.keys(), batch.sparse.length_per_key(), strict=True))
        for table in tables:
            rows = sum(lengths[key] for key in table.feature_names)
            self._rows += rows
            self._bytes += rows * table.embedding_dim * FLOAT_BYTES
        self._examples += 0 if again else batch.examples * batch.replicas
        if self._unique_every is not None and self._batches % self._unique_every == 0:
            self._unique_batches += batch.replicas
            self._unique += _distinct_rows(tables, batch)
        self._batches += 1

    def totals(self) -> tuple[int, ...]:
        """Return the counts, for another counter's ``add``."""
        return (
            self._batches,
            self._unique_batches,
            self._examples,
            self._rows,
            self._bytes,
            self._unique,
        )

    def add(self, totals: Sequence[int]) -> None:
        """Add the ``totals`` of another counter."""
        self._batches += totals[0]
        self._unique_batches += totals[1]
        self._examples += totals[2]
        self._rows += totals[3]
        self._bytes += totals[4]
        self._unique += totals[5]

    def lookups(self) -> Lookups:
        """Return averages of the counts."""
        return Lookups(
            per_example=self._rows / self._examples,
            bytes_per_example=self._bytes / self._examples,
            unique_rows_per_batch=self._unique / self._unique_batches,
        )


def _distinct_rows(tables: Sequence[EmbeddingBagConfig], batch: Batch) -> int:
    readers = Counter(tuple(table.feature_names) for table in tables)
    return sum(
        count * torch.cat([batch.sparse[key].values() for key in keys]).unique().numel()
        for keys, count in readers.items()
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameters:
    """Numbers of elements of one replica."""

    sparse: int
    dense: int
    optimizer_state: int

    @property
    def total(self) -> int:
        """Parameters without optimiser state."""
        return self.sparse + self.dense


def parameters(arm: Arm, optimizer: OptimizerConfig | None) -> Parameters:
    """Count one replica's parameters and, with an optimizer, its state."""
    replicas = len(arm.seeds)
    sparse = sum(table.num_embeddings * table.embedding_dim for table in arm.tables) // replicas
    rows = sum(table.num_embeddings for table in arm.tables) // replicas
    dense = sum(parameter.numel() for parameter in arm.dense.parameters()) // replicas
    state = 0
    if optimizer is not None:
        state += {"rowwise_adagrad": rows, "adagrad": sparse, "sgd": 0, "adam": 2 * sparse}[
            optimizer.sparse
        ]
        state += {"adagrad": dense, "sgd": 0, "adam": 2 * dense}[optimizer.dense]
    return Parameters(sparse=sparse, dense=dense, optimizer_state=state)


@dataclass(frozen=True, kw_only=True, slots=True)
class DenseFlops:
    """FLOPs of the dense part's matrix products, per example."""

    forward: float
    forward_backward: float


def dense_flops(arm: Arm, batch: Batch) -> DenseFlops:
    """Count one replica's FLOPs on ``batch``, without products that have one output column."""
    with torch.no_grad():
        embedded = arm.embeddings(batch.sparse)
    # A detached leaf: the backward pass must not update tables.
    embedded = KeyedTensor(
        embedded.keys(), embedded.length_per_key(), embedded.values().detach().requires_grad_()
    )
    counter = FlopCounterMode(display=False)
    with evaluating(arm), counter:
        logits = arm.dense(batch.dense, embedded)
        forward = counter.get_total_flops()
        torch.stack([group.sum() for group in logits.values()]).sum().backward()
    arm.dense.zero_grad(set_to_none=True)
    examples = batch.examples * batch.replicas
    return DenseFlops(
        forward=forward / examples, forward_backward=counter.get_total_flops() / examples
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Latency:
    """Time to serve one batch, from host memory to logits."""

    batch_size: int
    p50_us: float
    p99_us: float

    @property
    def us_per_example(self) -> float:
        return self.p50_us / self.batch_size


def latency(part: Arm, batch: Batch, device: torch.device, repeats: int = 60) -> Latency:
    """Measure the latency of the served part on one batch, after a warm-up."""
    warm_up = 10
    times = [_timed(lambda: served_logits(part, batch.to(device)), device) for _ in range(repeats)]
    measured = np.array(times[warm_up:]) * 1e6
    return Latency(
        batch_size=batch.examples,
        p50_us=float(np.percentile(measured, 50)),
        p99_us=float(np.percentile(measured, 99)),
    )


def _timed(function: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    with torch.no_grad():
        function()
    wait_for(device)
    return time.perf_counter() - start


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """The cost of one replica, as written to ``cost.json``."""

    train_lookups: float
    serve_lookups: float
    train_lookup_bytes: float
    serve_lookup_bytes: float
    train_unique_rows: float
    train_sparse_parameters: int
    train_dense_parameters: int
    serve_sparse_parameters: int
    serve_dense_parameters: int
    parameters: int
    """At serving."""
    optimizer_state_elements: int
    train_dense_flops: float
    serve_dense_flops: float
    train_examples_per_second: float
    """Over all replicas of the process."""
    fused_replicas: int
    serve_us_per_example: float
    serve_latency_us_p50: float
    serve_latency_us_p99: float
    serve_batch_size: int

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def wait_for(device: torch.device) -> None:
    """Wait until a GPU has finished all queued work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
