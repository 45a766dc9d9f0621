"""Records for a replay: the order of calls to each shard, and digests of the results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import pandas as pd
import pyarrow as pa

from distrib.parameter_store.shard import Served

_ORDER = pa.schema(
    {name: pa.int64() for name in ("phase", "shard", "lease", "window", "carried")}
    | {name: pa.bool_() for name in ("is_push", "applied")}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Recording:
    """The record of a whole training."""

    order: pd.DataFrame
    """A row for each pull and push: phase, shard, lease, window, is_push, applied, carried; those
    of one phase and shard in the order in which they were served"""
    digests: dict[str, str]
    """SHA-256 of every trained tensor by its name, accumulators too"""


def order_table(phases: Sequence[Sequence[Sequence[Served]]]) -> pd.DataFrame:
    """Return the order logs of all phases and their shards as one table."""
    return pd.DataFrame(
        {"phase": phase, "shard": shard, **asdict(served)}
        for phase, shards in enumerate(phases)
        for shard, log in enumerate(shards)
        for served in log
    )


def order_logs(table: pd.DataFrame) -> list[list[list[Served]]]:
    """Return the order logs in an ``order_table``, by phase and shard.

    Raises:
        ValueError: the table is invalid.
    """
    whole = pa.Table.from_pandas(table[_ORDER.names], preserve_index=False).cast(_ORDER)
    if any(column.null_count for column in whole.columns):
        raise ValueError("found a missing value")
    phases: dict[int, dict[int, list[Served]]] = {}
    for row in whole.to_pylist():
        shards = phases.setdefault(row.pop("phase"), {})
        shards.setdefault(row.pop("shard"), []).append(Served(**row))
    return [[shards[shard] for shard in sorted(shards)] for _, shards in sorted(phases.items())]
