"""A shard as an actor: the order in which calls arrive is the order in which they are served."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from distrib.async_engine.messages import Answer
from distrib.async_engine.shard_files import write_shard
from distrib.store.parameters import Parameters, Rows
from distrib.store.shard import Pulled, Push, Served, Shard, ShardState, Version


class ShardServer:
    """Serves one shard."""

    def __init__(self, state: ShardState, record: bool) -> None:
        # What comes through Ray is read-only memory of the object store.
        own = Parameters(
            slabs=tuple(slab.copy() for slab in state.parameters.slabs),
            dense=state.parameters.dense.copy(),
        )
        self._shard = Shard(
            ShardState(
                parameters=own, version=state.version, applied=state.applied, order=state.order
            ),
            record=record,
        )
        self._cpu_s = time.process_time()

    def pid(self) -> int:
        return os.getpid()

    def version(self) -> Version:
        return self._shard.version

    def pull(self, rows: Sequence[Rows], window: int, lease: int) -> Pulled:
        return self._shard.pull(rows, window=window, lease=lease)

    def push(self, push: Push, rows: Sequence[Rows], change: Parameters) -> Answer:
        staleness = self._shard.push(push, rows, change)
        before, self._cpu_s = self._cpu_s, time.process_time()
        return Answer(staleness=staleness, cpu_s=self._cpu_s - before)

    def parameters(self) -> Parameters:
        return self._shard.peek()

    def order(self) -> tuple[Served, ...]:
        return self._shard.order

    def write(self, root: str, name: str, shard: int) -> str:
        """Write a snapshot of this shard, return its digest; nothing is served meanwhile."""
        return write_shard(root, name, shard, self._shard.state())
