"""A generation: one dispatcher and what it needs of the store, started and ended together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ray

from distrib.async_engine.answers import answer
from distrib.async_engine.dispatcher import Dispatcher
from distrib.async_engine.messages import Status
from distrib.async_engine.store import Start, Store
from distrib.leases import Ledger
from distrib.windows import Windows
from recsys.engines import AsyncEngine


class Generation:
    """Starts the actors, asks them, and ends them. Any call raises ServersLost if one is gone.

    Args:
        name: unique to the generation; part of its actors' names.
        engine: how to train.
        windows: of the stream.
        store: where the parameters are.
        start: what is applied in it.
        saved: windows in the newest snapshot: the next lies behind them.
        start_with: workers that must have asked before the first window is granted.
        tags: of the metrics.
    """

    def __init__(
        self,
        name: str,
        engine: AsyncEngine,
        windows: Windows,
        store: Store,
        start: Start,
        saved: int,
        start_with: int,
        tags: dict[str, str],
    ) -> None:
        self._engine = engine
        self._windows = windows
        self._store = store
        ledger = Ledger(
            len(windows),
            lease_s=engine.lease_s,
            max_staleness=engine.max_staleness,
            warm_up=engine.warm_up,
            start_with=start_with,
            applied=set(start.applied),
            leases=start.leases,
            cut=self._cut_after(saved),
            waits_for_death=store.waits_for_death,
        )

        def named(part: str) -> dict[str, Any]:
            return {"name": f"soloist-{name}/{part}", "num_cpus": 0, "max_restarts": 0}

        dispatcher = ray.remote(Dispatcher).options(**named("dispatcher"))
        self._dispatcher: Any = dispatcher.remote(ledger, start.seen, tags)
        self.servers = store.serve(self._dispatcher, named)

    def status(self) -> Status:
        """Return how far the pass is, having looked for signs of life of what else there is."""
        self._store.check()
        status: Status = answer(self._dispatcher.status.remote())
        return status

    def mark_dead(self, workers: Sequence[str]) -> None:
        """Tell of dead workers."""
        if workers:
            answer(self._dispatcher.mark_dead.remote(list(workers)))

    def pass_cut(self, windows: int) -> None:
        """Let windows after a snapshot of so many be granted."""
        answer(self._dispatcher.move_cut.remote(self._cut_after(windows)))

    def close(self) -> None:
        ray.kill(self._dispatcher)
        self._store.stop()

    def _cut_after(self, windows: int) -> int | None:
        if self._engine.snapshots is None:
            return None
        cut = (windows // self._engine.snapshot_every + 1) * self._engine.snapshot_every
        return cut if cut < len(self._windows) else None
