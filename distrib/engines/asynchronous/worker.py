"""The worker actor of the server store: lease a window, pull its rows, train, push the deltas."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from ray.exceptions import ObjectLostError, RayActorError

from distrib.engines.asynchronous.leases import Lease
from distrib.engines.asynchronous.messages import Report, Seconds, Servers, WorkerExit
from distrib.engines.asynchronous.rpc import (
    DispatcherClient,
    Pulling,
    Pushing,
    StoreClient,
    WorkerContext,
)
from distrib.parameter_store.layout import shared_rows
from distrib.parameter_store.shard import Version
from distrib.training.device_transfer import Transfer
from distrib.training.step import set_arithmetic
from distrib.training.windows import (
    Carried,
    Change,
    Staged,
    Training,
    Windows,
    WindowTrainer,
    not_finite,
)
from distrib.trials.trial import Trial
from recsys.cost import LookupCounter
from recsys.data.click_log import ClickLog
from recsys.data.stream import Stream
from recsys.engines import AsyncEngine
from recsys.errors import DataError
from recsys.native import operators

_LOOK_AGAIN_S = 0.0005
"""Pause between two looks at a GPU that trains"""


@dataclass(frozen=True, kw_only=True, slots=True)
class _PulledWindow:
    """A window that is leased, prepared and being pulled."""

    pulling: Pulling
    lookups: LookupCounter
    prepare_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class _StagedWindow:
    """A window whose rows have arrived and are being sent to the device."""

    ahead: _PulledWindow
    staged: Staged
    since: Sequence[Version]
    bytes_pulled: int
    pull_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class _RunningWindow:
    """A window in training."""

    here: _StagedWindow
    training: Training
    carried: Lease | None
    """Whose change was added to what was pulled"""
    compute_s: float
    """Spent on setting it to work"""

    @property
    def pulling(self) -> Pulling:
        return self.here.ahead.pulling


@dataclass(frozen=True, kw_only=True, slots=True)
class _TrainedWindow:
    """A window whose delta is being pushed."""

    pushing: Pushing
    report: Report
    """But for what the shards tell"""


class WindowLoop:
    """Trains windows until none is left.

    On a GPU, a window is computed while the next one is prepared, pulled and sent to the device,
    and while the previous delta is fetched and pushed. On the CPU, a window is computed when its
    result is requested, during the pull of the next one.

    Raises Ray's errors if the dispatcher or a shard has crashed.
    """

    def __init__(
        self,
        context: WorkerContext,
        dispatcher: DispatcherClient,
        trainer: WindowTrainer,
        client: StoreClient,
    ) -> None:
        self._context = context
        self._dispatcher = dispatcher
        self._trainer = trainer
        self._client = client
        self._unsettled: list[_TrainedWindow] = []
        self._asked: Any = None

    def run(self) -> None:
        running = self._start_when_granted()
        while running is not None:
            running = self._round(running)
        self._settle()

    def _round(self, running: _RunningWindow) -> _RunningWindow | None:
        """Finish a window; return the next one in training, None at the end of the pass."""
        lease = self._dispatcher.granted(self._asked)
        ahead = None if lease is None else self._begin(lease)
        started = time.perf_counter()
        here = self._stage_under(running, ahead)
        is_finite = running.training.is_finite()
        compute_s = running.compute_s + time.perf_counter() - started
        following = None
        if here is not None and is_finite:
            following = self._start(here, running)
        trained = self._push(running, compute_s) if is_finite else self._reject(running)
        self._settle()
        self._unsettled += trained
        if ahead is None:
            self._settle()
            return self._start_when_granted()
        if following is None:
            following = self._start(here or self._stage(ahead), running if is_finite else None)
        return following

    def _start_when_granted(self) -> _RunningWindow | None:
        """Wait for a window and start it; None at the end of the pass.

        It is pulled after all own pushes, so it needs no own delta.
        """
        lease = self._dispatcher.wait()
        return None if lease is None else self._start(self._stage(self._begin(lease)), None)

    def _begin(self, lease: Lease) -> _PulledWindow:
        """Prepare a window and request its rows."""
        started = time.perf_counter()
        window = self._context.windows[lease.window]
        batches = list(self._context.stream.batches(window.first_batch, window.last_batch))
        lookups = self._context.lookup_counter(window.number)
        for batch in batches:
            lookups.count(self._trainer.arm.tables, batch, again=not self._context.counts_examples)
        prepared = self._trainer.prepare(window, batches)
        pulling = self._client.pull(lease, prepared)
        return _PulledWindow(
            pulling=pulling, lookups=lookups, prepare_s=time.perf_counter() - started
        )

    def _stage(self, ahead: _PulledWindow) -> _StagedWindow:
        """Wait for a window's rows, send them to the device, and request the next window."""
        self._asked = self._dispatcher.ask()
        started = time.perf_counter()
        parameters, since = self._client.pulled(ahead.pulling)
        return _StagedWindow(
            ahead=ahead,
            staged=self._trainer.stage(ahead.pulling.prepared, [parameters]),
            since=since,
            bytes_pulled=parameters.bytes,
            pull_s=time.perf_counter() - started,
        )

    def _stage_under(
        self, running: _RunningWindow, ahead: _PulledWindow | None
    ) -> _StagedWindow | None:
        """Stage the next window while a GPU trains; None if its rows have not arrived by then."""
        here = None
        while running.training.is_running:
            if here is None and ahead is not None and self._client.has_arrived(ahead.pulling):
                here = self._stage(ahead)
            self._dispatcher.heartbeat()
            time.sleep(_LOOK_AGAIN_S)
        return here

    def _start(self, here: _StagedWindow, before: _RunningWindow | None) -> _RunningWindow:
        """Start a window; its pull lacks the delta of the window ``before``."""
        started = time.perf_counter()
        carried = None
        if before is not None:
            shared = shared_rows(here.ahead.pulling.route, before.pulling.route)
            carried = Carried(training=before.training, shared=shared)
        training = self._trainer.start(here.staged, carried, lambda _: self._dispatcher.heartbeat())
        return _RunningWindow(
            here=here,
            training=training,
            carried=None if before is None else before.pulling.lease,
            compute_s=time.perf_counter() - started,
        )

    def _push(self, running: _RunningWindow, compute_s: float) -> list[_TrainedWindow]:
        started = time.perf_counter()
        change = running.training.change()
        (delta,) = change.parameters
        pushing = self._client.push(running.pulling, delta, running.here.since, running.carried)
        seconds = Seconds(
            prepare=running.here.ahead.prepare_s,
            pull=running.here.pull_s,
            compute=compute_s,
            push=time.perf_counter() - started,
            wait=self._dispatcher.take_waited_s(),
        )
        return [_TrainedWindow(pushing=pushing, report=_report(running.here, change, seconds))]

    def _reject(self, running: _RunningWindow) -> list[_TrainedWindow]:
        """Report a window whose delta must not be pushed."""
        what = not_finite(running.pulling.prepared.window)
        self._dispatcher.not_finite(running.pulling.lease, what)
        return []

    def _settle(self) -> None:
        """Report the windows whose pushes are confirmed."""
        for trained in self._unsettled:
            pushed = self._client.pushed(trained.pushing)
            seconds = replace(trained.report.seconds, shard=pushed.shard_s)
            self._dispatcher.complete(
                replace(trained.report, staleness=pushed.staleness, seconds=seconds)
            )
        self._unsettled = []


def _report(here: _StagedWindow, change: Change, seconds: Seconds) -> Report:
    prepared = here.ahead.pulling.prepared
    return Report(
        lease=here.ahead.pulling.lease,
        batches=prepared.window.last_batch - prepared.window.first_batch,
        examples=prepared.examples,
        progressive_loss=float(change.progressive_loss[0]),
        lookups=here.ahead.lookups.totals(),
        staleness=(),
        bytes_pulled=here.bytes_pulled,
        bytes_pushed=change.parameters[0].bytes,
        seconds=seconds,
    )


_HEARTBEATS_PER_LEASE = 4

LOST = (RayActorError, ObjectLostError)
"""What Ray raises where an actor, or the node with its answer, has crashed"""


class Loop(Protocol):
    """Trains windows until none is left."""

    def run(self) -> None: ...


class BaseWorker(ABC):
    """Trains windows of one trial, for any store.

    Args:
        name: unique in the training.
        place: index of the worker; a replacement has the same.
        log_directory: of the click log.
        trial: to train.

    Raises:
        DataError: the click log at this path is not the trial's.
    """

    def __init__(self, name: str, place: int, log_directory: Path, trial: Trial) -> None:
        assert isinstance(trial.recipe.engine, AsyncEngine)
        self.name = name
        self.place = place
        self.trial = trial
        self.engine = trial.recipe.engine
        self.log = ClickLog.open(log_directory)
        if self.log.fingerprint != trial.data_fingerprint:
            raise DataError(f"{log_directory}: not the click log of the trial's plan")
        self.device = set_arithmetic(trial.recipe)
        self.stream = Stream(self.log, "train", trial.recipe.stream, [trial.seeds])
        self.windows = Windows(self.stream.batch_count, self.engine.window)
        if self.device.type == "cpu":
            operators()  # on a fresh machine they are compiled: in a lease it would take too long

    def run(self, phase: int, servers: Servers) -> WorkerExit:
        """Train windows of a phase until none is left, or the dispatcher or a shard crashes."""
        try:
            self.loop(phase, servers).run()
        except LOST:
            return WorkerExit.SERVERS_LOST
        return WorkerExit.FINISHED

    @abstractmethod
    def loop(self, phase: int, servers: Servers) -> Loop:
        """Return the training loop of a phase."""

    def context(self, phase: int) -> WorkerContext:
        """Return this worker's context in a phase."""
        return WorkerContext(
            name=self.name,
            stream=self.stream,
            windows=self.windows,
            heartbeat_s=self.engine.lease_s / _HEARTBEATS_PER_LEASE,
            counts_examples=phase == len(self.trial.recipe.arm.phases) - 1,
        )


class Worker(BaseWorker):
    """Trains windows of one trial with the rows of the shards."""

    _phase: int | None = None
    _trainer: WindowTrainer | None = None

    def loop(self, phase: int, servers: Servers) -> WindowLoop:
        if self._trainer is None or phase != self._phase:
            self._phase, self._trainer = phase, self._make_trainer(phase)
        context = self.context(phase)
        dispatcher = DispatcherClient(context, servers.dispatcher)
        return WindowLoop(context, dispatcher, self._trainer, self.make_client(servers))

    def make_client(self, servers: Servers) -> StoreClient:
        """Return the client of the store."""
        return StoreClient(servers.shards)

    def make_transfer(self) -> Transfer:
        """Return the transfer to the worker's device."""
        return Transfer(self.device)

    def _make_trainer(self, phase: int) -> WindowTrainer:
        return WindowTrainer(
            self.trial.recipe,
            self.log.schema,
            [self.trial.seeds],
            self.trial.recipe.arm.phases[phase],
            batch_count=self.stream.batch_count,
            transfer=self.make_transfer(),
            delta_scale=self.engine.delta_scale,
        )
