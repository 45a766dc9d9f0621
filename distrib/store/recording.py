"""What a replay needs: the order in which shards served, and what came out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import pandas as pd

from distrib.store.shard import Served


@dataclass(frozen=True, kw_only=True, slots=True)
class Recording:
    """Of a whole training."""

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
    """Return the order logs that ``order_table`` took, by phase and shard."""
    fields = ["lease", "window", "is_push", "applied", "carried"]
    return [
        [
            [
                Served(
                    lease=int(lease),
                    window=int(window),
                    is_push=bool(is_push),
                    applied=bool(applied),
                    carried=int(carried),
                )
                for lease, window, is_push, applied, carried in log[fields].itertuples(index=False)
            ]
            for _, log in of_phase.groupby("shard", sort=True)
        ]
        for _, of_phase in table.groupby("phase", sort=True)
    ]
