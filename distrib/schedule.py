"""In which order the pulls and pushes of W logical workers happen, from a seed."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from distrib.leases import Lease, Ledger
from recsys.engines import ConstantDelays, Delays, ExponentialDelays


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """A pull or a push of one window."""

    window: int
    is_push: bool


def schedule(
    windows: int,
    workers: int,
    delays: Delays,
    rng: np.random.Generator,
    *,
    max_staleness: int | None = None,
    warm_up: int = 0,
) -> list[Event]:
    """Return the pull and the push of every window; pulls are in stream order.

    A worker pulls, trains for as long as ``delays`` say, pushes, and pulls again at once, unless
    ``max_staleness`` or ``warm_up`` holds it back. Pushes of one moment come in random order.
    """
    ledger = Ledger(windows, max_staleness=max_staleness, warm_up=warm_up)
    return _Simulation(ledger, delays, workers, rng).run(workers)


class _Simulation:
    def __init__(
        self, ledger: Ledger, delays: Delays, workers: int, rng: np.random.Generator
    ) -> None:
        self._ledger = ledger
        self._rng = rng
        self._duration = _durations(delays, workers, rng)
        self._idle: deque[int] = deque()
        self._training: list[tuple[float, float, int, Lease]] = []
        self._events: list[Event] = []

    def run(self, workers: int) -> list[Event]:
        self._idle.extend(self._rng.permutation(workers).tolist())
        self._put_to_work(0.0)
        while self._training:
            now, _, worker, lease = heapq.heappop(self._training)
            self._events.append(Event(window=lease.window, is_push=True))
            self._ledger.complete(lease)
            self._idle.append(worker)
            self._put_to_work(now)
        return self._events

    def _put_to_work(self, now: float) -> None:
        while self._idle:
            answer = self._ledger.grant(str(self._idle[0]), now)
            if not isinstance(answer, Lease):
                return  # what is refused to one idle worker is refused to all
            worker = self._idle.popleft()
            self._events.append(Event(window=answer.window, is_push=False))
            entry = (now + self._duration(worker), self._rng.random(), worker, answer)
            heapq.heappush(self._training, entry)


def _durations(delays: Delays, workers: int, rng: np.random.Generator) -> Callable[[int], float]:
    """Return how long a worker trains a window, in units of the usual time."""
    if isinstance(delays, ConstantDelays):
        return lambda worker: 1.0
    if isinstance(delays, ExponentialDelays):
        return lambda worker: rng.exponential()
    slow = set(rng.permutation(workers)[: round(delays.share * workers)].tolist())
    return lambda worker: delays.slowdown if worker in slow else 1.0
