"""A generation: one dispatcher and its shards, started from one state, ended together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError

from distrib.async_engine.dispatcher import Dispatcher
from distrib.async_engine.messages import Seen, Servers, Status
from distrib.async_engine.shard_server import ShardServer
from distrib.leases import Ledger
from distrib.store.parameters import Parameters, join
from distrib.store.shard import Served, ShardState
from distrib.windows import Windows
from recsys.engines import AsyncEngine

_ANSWER_S = 300.0
"""An actor that takes longer to answer is taken for dead"""


class ServersLost(Exception):
    """A dispatcher or a shard is gone, and with it what it knew."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """What a generation starts from."""

    shards: tuple[ShardState, ...]
    seen: Seen
    windows: int
    """Exactly the windows with lower numbers are applied"""
    leases: int


class Generation:
    """Starts the actors, asks them, and ends them. Any call raises ServersLost if one is gone."""

    def __init__(
        self,
        run: str,
        number: int,
        engine: AsyncEngine,
        windows: Windows,
        start: Start,
        tags: dict[str, str],
    ) -> None:
        self._engine = engine
        self._windows = windows
        ledger = Ledger(
            len(windows),
            lease_s=engine.lease_s,
            max_staleness=engine.max_staleness,
            warm_up=engine.warm_up,
            start_with=engine.start_with,
            applied=set(range(start.windows)),
            leases=start.leases,
            cut=self._cut_after(start.windows),
        )

        def named(part: str) -> dict[str, Any]:
            return {"name": f"soloist-{run}/{number}/{part}", "num_cpus": 0, "max_restarts": 0}

        dispatcher = ray.remote(Dispatcher).options(**named("dispatcher"))
        shard = ray.remote(ShardServer)
        self.servers = Servers(
            dispatcher=dispatcher.remote(ledger, start.seen, tags),
            shards=tuple(
                shard.options(**named(f"shard-{i}")).remote(state, engine.record)
                for i, state in enumerate(start.shards)
            ),
        )
        self._signs = [each.version.remote() for each in self.servers.shards]

    def status(self, workers: int) -> Status:
        """Return how far the pass is, having seen a sign of life of every shard that gave one."""
        ready, _ = ray.wait(self._signs, num_returns=len(self._signs), timeout=0)
        for sign in ready:
            self._get(sign)
            number = self._signs.index(sign)
            self._signs[number] = self.servers.shards[number].version.remote()
        status: Status = self._get(self.servers.dispatcher.status.remote(workers))
        return status

    def bury(self, workers: Sequence[str]) -> None:
        """Tell of dead workers."""
        if workers:
            self._get(self.servers.dispatcher.bury.remote(list(workers)))

    def parameters(self) -> Parameters:
        """Return the parameters as the shards have them now."""
        return join(self._of_shards(lambda shard, _: shard.parameters.remote()))

    def order(self) -> list[tuple[Served, ...]]:
        """Return the order log of every shard."""
        return self._of_shards(lambda shard, _: shard.order.remote())

    def write(self, root: str, name: str) -> None:
        """Have all shards write their files of a snapshot."""
        self._of_shards(lambda shard, number: shard.write.remote(root, name, number))

    def pass_cut(self, windows: int) -> None:
        """Let windows after a snapshot of so many be granted."""
        self._get(self.servers.dispatcher.move_cut.remote(self._cut_after(windows)))

    def close(self) -> None:
        for actor in (self.servers.dispatcher, *self.servers.shards):
            ray.kill(actor)

    def _cut_after(self, windows: int) -> int | None:
        if self._engine.snapshots is None:
            return None
        cut = (windows // self._engine.snapshot_every + 1) * self._engine.snapshot_every
        return cut if cut < len(self._windows) else None

    def _of_shards(self, call: Callable[[Any, int], Any]) -> list[Any]:
        return [
            self._get(reply)
            for reply in [call(shard, i) for i, shard in enumerate(self.servers.shards)]
        ]

    def _get(self, reply: Any) -> Any:
        try:
            return ray.get(reply, timeout=_ANSWER_S)
        except ray.exceptions.RayTaskError:
            raise
        except RayError as error:
            raise ServersLost(str(error)) from error
