"""What a worker does all day: lease a window, pull its rows, train it, push the change.

It never waits for another worker. While one window is trained, the rows of the next are on their
way; they were asked for before the change of the one being trained is pushed, so the worker adds
that change to them itself.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import ray

from distrib.async_engine.client import Pulling, Pushing, StoreClient
from distrib.async_engine.messages import Report, Seconds
from distrib.leases import Hold, Lease
from distrib.store.parameters import Parameters
from distrib.store.routes import carry
from distrib.store.shard import Version
from distrib.window_trainer import Change, WindowTrainer, not_finite
from distrib.windows import Windows
from recsys.cost import LookupCounter, sampling_interval
from recsys.data.stream import Stream

_ASK_AGAIN_S = (0.002, 0.05)
"""First and longest pause of a worker that is told to hold"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Post:
    """Where a worker stands: its name, and the pass over the stream that it takes part in."""

    name: str
    stream: Stream
    windows: Windows
    beat_s: float
    """Seconds between signs of life"""
    counts_examples: bool
    """False if another phase counts the same examples"""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Ahead:
    """A window that is leased, prepared and being pulled."""

    pulling: Pulling
    lookups: LookupCounter
    prepare_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class _Trained:
    """A window whose change is on its way to the shards."""

    pushing: Pushing
    report: Report
    """But for what the shards tell"""


class WindowLoop:
    """Trains windows until none is left.

    Raises what Ray raises when the dispatcher or a shard is gone.
    """

    def __init__(
        self, post: Post, trainer: WindowTrainer, dispatcher: Any, client: StoreClient
    ) -> None:
        self._post = post
        self._trainer = trainer
        self._dispatcher = dispatcher
        self._client = client
        self._beat_at = time.monotonic()
        self._wait_s = 0.0
        self._unsettled: list[_Trained] = []

    def run(self) -> None:
        ahead = self._wait_for_window()
        carried: _Trained | None = None
        while ahead is not None:
            current = ahead
            asked = self._dispatcher.next.remote(self._post.name)
            started = time.perf_counter()
            parameters, since = self._client.pulled(current.pulling)
            if carried is not None:
                pushing = carried.pushing
                carry(parameters, current.pulling.route, pushing.change, pushing.pulling.route)
            pull_s = time.perf_counter() - started
            answer = ray.get(asked)
            ahead = self._begin(answer) if isinstance(answer, Lease) else None
            trained = self._train(current, parameters, since, carried, pull_s)
            self._settle()
            self._unsettled += [] if trained is None else [trained]
            carried = trained
            if ahead is None:
                self._settle()
                ahead = self._wait_for_window()
                carried = None  # asked for after the push: what comes has the change in it
        self._settle()

    def _wait_for_window(self) -> _Ahead | None:
        """Return the next window, None when there is none any more."""
        started = time.perf_counter()
        pause, longest = _ASK_AGAIN_S
        while isinstance(answer := ray.get(self._dispatcher.next.remote(self._post.name)), Hold):
            time.sleep(pause)
            pause = min(2 * pause, longest)
        self._wait_s += time.perf_counter() - started
        return self._begin(answer) if isinstance(answer, Lease) else None

    def _begin(self, lease: Lease) -> _Ahead:
        """Prepare a window and ask for its rows."""
        started = time.perf_counter()
        window = self._post.windows[lease.window]
        batches = list(self._post.stream.batches(window.first_batch, window.last_batch))
        every = sampling_interval(len(self._post.windows))
        lookups = LookupCounter(len(batches) if window.number % every == 0 else None)
        for batch in batches:
            lookups.count(self._trainer.arm.tables, batch, again=not self._post.counts_examples)
        prepared = self._trainer.prepare(window, batches)
        pulling = self._client.pull(lease, prepared)
        return _Ahead(pulling=pulling, lookups=lookups, prepare_s=time.perf_counter() - started)

    def _train(
        self,
        current: _Ahead,
        parameters: Parameters,
        since: Sequence[Version],
        carried: _Trained | None,
        pull_s: float,
    ) -> _Trained | None:
        """Train and push a window; None if its change may not be pushed."""
        pulling = current.pulling
        started = time.perf_counter()
        change = self._trainer.train(pulling.prepared, [parameters], self._beat)
        compute_s = time.perf_counter() - started
        if not change.is_finite:
            what = not_finite(pulling.prepared.window)
            self._dispatcher.not_finite.remote(pulling.lease, what)
            return None
        started = time.perf_counter()
        (delta,) = change.parameters
        own = None if carried is None else carried.pushing.pulling.lease
        pushing = self._client.push(pulling, delta, since, own)
        seconds = Seconds(
            prepare=current.prepare_s,
            pull=pull_s,
            compute=compute_s,
            push=time.perf_counter() - started,
            wait=self._wait_s,
        )
        self._wait_s = 0.0
        return _Trained(pushing=pushing, report=self._report(current, change, parameters, seconds))

    def _report(
        self, current: _Ahead, change: Change, parameters: Parameters, seconds: Seconds
    ) -> Report:
        prepared = current.pulling.prepared
        return Report(
            lease=current.pulling.lease,
            batches=prepared.window.last_batch - prepared.window.first_batch,
            examples=prepared.examples,
            progressive_loss=float(change.progressive_loss[0]),
            lookups=current.lookups.totals(),
            staleness=(),
            bytes_pulled=parameters.bytes,
            bytes_pushed=change.parameters[0].bytes,
            seconds=seconds,
        )

    def _settle(self) -> None:
        """Report the windows whose pushes were answered, which by now should be all."""
        for trained in self._unsettled:
            staleness = self._client.pushed(trained.pushing)
            self._dispatcher.complete.remote(replace(trained.report, staleness=staleness))
        self._unsettled = []

    def _beat(self, examples: int) -> None:
        now = time.monotonic()
        if now - self._beat_at > self._post.beat_s:
            self._beat_at = now
            self._dispatcher.heartbeat.remote(self._post.name)
