"""Where a worker stands: the pass that it takes part in, and its line to the dispatcher."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import ray

from distrib.async_engine.messages import Report
from distrib.leases import Answer, Hold, Lease
from distrib.windows import Windows
from recsys.cost import LookupCounter, sampling_interval
from recsys.data.stream import Stream

_ASK_AGAIN_S = (0.002, 0.05)
"""First and longest pause of a worker that is told to hold"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Post:
    """A worker's name, and the pass over the stream that it takes part in."""

    name: str
    stream: Stream
    windows: Windows
    heartbeat_s: float
    """Seconds between signs of life"""
    counts_examples: bool
    """False if another phase counts the same examples"""

    def lookup_counter(self, window: int) -> LookupCounter:
        """Return a counter for a window: distinct rows are counted once, in few windows."""
        every = sampling_interval(len(self.windows))
        return LookupCounter(self.windows.length if window % every == 0 else None)


class Line:
    """A worker's line to the dispatcher. What is asked raises what Ray raises if it is gone."""

    def __init__(self, post: Post, dispatcher: Any) -> None:
        self._name = post.name
        self._heartbeat_s = post.heartbeat_s
        self._dispatcher = dispatcher
        self._heartbeat_at = time.monotonic()
        self._waited_s = 0.0

    def ask(self) -> Any:
        """Ask for a window; returns at once."""
        return self._dispatcher.next.remote(self._name)

    def granted(self, asked: Any) -> Lease | None:
        """Return the answer to ``ask`` if it is a lease."""
        found: Answer = ray.get(asked)
        return found if isinstance(found, Lease) else None

    def wait(self) -> Lease | None:
        """Ask until a window is granted; None when there is none any more."""
        started = time.perf_counter()
        pause, longest = _ASK_AGAIN_S
        while isinstance(answer := ray.get(self.ask()), Hold):
            time.sleep(pause)
            pause = min(2 * pause, longest)
        self._waited_s += time.perf_counter() - started
        return answer if isinstance(answer, Lease) else None

    def take_waited_s(self) -> float:
        """Return the seconds spent in ``wait`` since the last call."""
        waited, self._waited_s = self._waited_s, 0.0
        return waited

    def complete(self, report: Report) -> None:
        """Tell that a window is applied; returns at once."""
        self._dispatcher.complete.remote(report)

    def not_finite(self, lease: Lease, what: str) -> None:
        """Tell that a window may not be applied; returns at once."""
        self._dispatcher.not_finite.remote(lease, what)

    def heartbeat(self) -> None:
        """Give a sign of life, if it is time for one."""
        now = time.monotonic()
        if now - self._heartbeat_at > self._heartbeat_s:
            self._heartbeat_at = now
            self._dispatcher.heartbeat.remote(self._name)
