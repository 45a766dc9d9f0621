"""Interleaved latency measurement of several served models."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torchrec.modules.embedding_configs import EmbeddingBagConfig

from recsys.cost import LookupCounter
from recsys.data.batch import Batch
from recsys.data.click_log import ClickLog
from recsys.data.schema import Schema
from recsys.data.stream import Batches
from recsys.embeddings import feature_key
from recsys.seeds import generator
from recsys.serving.loader import Bag, Description, ServedModel


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """A request for B examples."""

    dense: Tensor
    """float32 ``(B, D)``"""
    sparse: dict[str, Tensor | Bag]
    """By feature, as ``recsys.serving.loader.ServedModel`` takes it"""


def request_of(batch: Batch, schema: Schema) -> Request:
    """Return the first replica's examples of a batch as a request."""
    sparse: dict[str, Tensor | Bag] = {}
    for feature in schema.sparse:
        bags = batch.sparse[feature_key(0, feature.name)]
        ids, lengths = bags.values().long(), bags.lengths().long()
        starts = lengths.cumsum(0) - lengths
        sparse[feature.name] = (ids, starts) if feature.multi_valued else ids
    return Request(dense=batch.dense[0], sparse=sparse)


_WARM_UP = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class ServingCost:
    """One model at one batch size, with its ratio to the first model on the same requests."""

    batch_size: int
    p50_us: float
    p99_us: float
    examples_per_second: float
    ratio: float
    """Median over the requests of its time ÷ the first model's"""
    ratio_low: float
    """First quartile"""
    ratio_high: float
    """Third quartile"""
    lookups: float
    """Embedding rows read for one example, counted in the requests of this run"""
    lookup_bytes: float


def side_by_side(
    models: Sequence[ServedModel],
    log: ClickLog,
    rows: npt.NDArray[np.int64],
    *,
    batch_size: int,
    requests: int,
) -> list[ServingCost]:
    """Measure the latency of each model on the same requests, interleaved.

    Examples are drawn from ``rows`` of the log with a fixed seed. The first model rotates, and the
    first 20 requests are warm-up. A time is from features in host memory to probabilities.
    """
    counters = [LookupCounter() for _ in models]
    tables = [_tables(model.description) for model in models]
    drawn = generator("serving", batch_size).choice(rows, (_WARM_UP + requests) * batch_size)
    times = np.zeros((len(models), requests))
    for number, batch in enumerate(Batches(log, 1).same_rows(drawn, batch_size)):
        took = _answer_in_turns(models, batch, log, first=number)
        if number >= _WARM_UP:
            times[:, number - _WARM_UP] = took
            for counter, read in zip(counters, tables, strict=True):
                counter.count(read, batch)
    return [
        _cost(own, times[0], counter, batch_size)
        for own, counter in zip(times, counters, strict=True)
    ]


def _answer_in_turns(
    models: Sequence[ServedModel], batch: Batch, log: ClickLog, *, first: int
) -> list[float]:
    """Return the seconds of each model for one request."""
    request = request_of(batch, log.schema)
    took = [0.0] * len(models)
    for turn in range(len(models)):
        number = (first + turn) % len(models)
        start = time.perf_counter()
        models[number](request.dense, request.sparse)
        took[number] = time.perf_counter() - start
    return took


def _cost(
    times: npt.NDArray[np.float64],
    of_first: npt.NDArray[np.float64],
    counter: LookupCounter,
    batch_size: int,
) -> ServingCost:
    low, ratio, high = np.quantile(times / of_first, (0.25, 0.5, 0.75))
    p50, p99 = np.quantile(times, (0.5, 0.99)) * 1e6
    read = counter.lookups()
    return ServingCost(
        batch_size=batch_size,
        p50_us=float(p50),
        p99_us=float(p99),
        examples_per_second=float(batch_size / times.mean()),
        ratio=float(ratio),
        ratio_low=float(low),
        ratio_high=float(high),
        lookups=read.per_example,
        lookup_bytes=read.bytes_per_example,
    )


def _tables(description: Description) -> list[EmbeddingBagConfig]:
    """Return the tables of a program, with feature keys of one replica's batches."""
    return [
        EmbeddingBagConfig(
            name=f"table {number}",
            num_embeddings=table.rows,
            embedding_dim=table.embedding_dim,
            feature_names=[feature_key(0, feature) for feature in table.features],
        )
        for number, table in enumerate(description.tables)
    ]
