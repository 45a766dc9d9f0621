"""Runs one phase of training over the stream: monitors workers, saves snapshots, recovers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ray
import torch
from ray.exceptions import RayTaskError

from distrib.engines.asynchronous.dispatcher import Dispatcher
from distrib.engines.asynchronous.leases import Ledger
from distrib.engines.asynchronous.messages import Status, TrainingProgress
from distrib.engines.asynchronous.rpc import ServersLost, answer, reason
from distrib.engines.asynchronous.stores import ResumePoint, Store
from distrib.engines.asynchronous.worker_pool import WorkerPool
from distrib.errors import TrialFailed
from distrib.parameter_store.shard import Served
from distrib.parameter_store.snapshots import Snapshot, SnapshotStore
from distrib.training.evaluator import Evaluator, EvaluatorState
from distrib.training.windows import Windows
from distrib.trials.json_values import from_json, to_json
from recsys.engines import AsyncEngine
from recsys.errors import DataError
from recsys.files import expecting


class ServerGroup:
    """Starts, calls and stops the server actors. Any call raises ServersLost if one has crashed.

    Args:
        name: unique to the group; part of its actors' names.
        engine: the engine's configuration.
        windows: of the stream.
        store: the parameter store.
        start: the resume point.
        saved: number of windows in the newest snapshot; the next snapshot is after them.
        start_with: number of workers that must have asked before the first window is granted.
        tags: of the metrics.
    """

    def __init__(
        self,
        name: str,
        engine: AsyncEngine,
        windows: Windows,
        store: Store,
        start: ResumePoint,
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
            needs_confirmed_exit=store.needs_confirmed_exit,
        )

        def named(part: str) -> dict[str, Any]:
            return {"name": f"soloist-{name}/{part}", "num_cpus": 0, "max_restarts": 0}

        dispatcher = ray.remote(Dispatcher).options(**named("dispatcher"))
        self._dispatcher: Any = dispatcher.remote(ledger, start.seen, tags)
        self.servers = store.serve(self._dispatcher, named)

    def status(self) -> Status:
        """Return the progress of the pass, after checking that all actors are alive."""
        self._store.check()
        status: Status = answer(self._dispatcher.status.remote())
        return status

    def mark_dead(self, workers: Sequence[str]) -> None:
        """Report dead workers."""
        if workers:
            answer(self._dispatcher.mark_dead.remote(list(workers)))

    def pass_cut(self, windows: int) -> None:
        """Allow windows beyond a snapshot of ``windows`` windows."""
        answer(self._dispatcher.move_cut.remote(self._cut_after(windows)))

    def close(self) -> None:
        ray.kill(self._dispatcher)
        self._store.stop()

    def _cut_after(self, windows: int) -> int | None:
        if self._engine.snapshots is None:
            return None
        cut = (windows // self._engine.snapshot_every + 1) * self._engine.snapshot_every
        return cut if cut < len(self._windows) else None


_POLL_S = 0.1
MOST_LOSSES = 5
"""Servers that are lost so often in a row, without a snapshot between, are not started again"""


@dataclass(frozen=True, kw_only=True, slots=True)
class PhaseResult:
    """Result of a finished pass."""

    seen: TrainingProgress
    train_seconds: float
    orders: tuple[tuple[Served, ...], ...]
    """The order log of each shard"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """The driver's state in a snapshot."""

    seen: TrainingProgress
    train_seconds: float
    watch: EvaluatorState | None
    passed: tuple[PhaseResult, ...]
    """The phases before"""


def progress_of(snapshot: Snapshot) -> Progress:
    """Return the driver's state in a snapshot.

    Raises:
        DataError: it has another format.
    """
    with expecting("what a driver knows", "progress.json"):
        return from_json(Progress, snapshot.progress)


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """What all passes of a training share."""

    run: str
    """Unique to this training"""
    trial: str
    """Digest"""
    engine: AsyncEngine
    windows: Windows
    store: Store
    pool: WorkerPool
    snapshots: SnapshotStore | None
    """Where this trial's lie"""
    report_progress: Callable[[TrainingProgress], None]
    """Called with what is applied, a few times a second"""


class PhaseRunner:
    """Runs one phase.

    Args:
        training: the training.
        phase: its number; the store has begun it.
        watch: evaluator during the phase; None if the phase is not evaluated.
        passed: the previous phases.
        is_resumed: whether a previous run trained them, so that their weights are only in this
            phase's snapshots.
    """

    def __init__(
        self,
        training: Training,
        phase: int,
        watch: Evaluator | None,
        passed: tuple[PhaseResult, ...],
        *,
        is_resumed: bool = False,
    ) -> None:
        self._training = training
        self._phase = phase
        self._evaluator = watch
        self._unwatched = None if watch is None else watch.state()
        self._passed = passed
        self._is_resumed = is_resumed
        self._has_begun = bool(passed)
        self._seconds = 0.0
        self._crashes = 0
        self._group_number = 0
        self._watched = TrainingProgress()
        self._saved = 0

    def run(self) -> PhaseResult:
        """Train until every window is applied; then the store's arm has the weights.

        Raises:
            TrialFailed: it cannot be trained.
            DataError: the snapshots are in use, of another format, or a required one is missing.
        """
        store = self._training.store
        while True:
            self._training.pool.drain()  # nobody changes any more what a store has kept
            start = store.kept() or self._restored()
            group = ServerGroup(
                self._next_group(),
                self._training.engine,
                self._training.windows,
                store,
                start,
                self._saved,
                self._workers_to_wait_for(start),
                {"trial": self._training.trial, "run": self._training.run},
            )
            try:
                self._training.pool.start(self._phase, group.servers)
                seen = self._monitor(group)
                store.arm()
                orders = store.order()
            except ServersLost as error:
                self._crashes += 1
                if self._crashes >= MOST_LOSSES:
                    raise TrialFailed(
                        f"dispatcher or a shard crashed {self._crashes} times in a row: {error}"
                    ) from error
            else:
                return PhaseResult(seen=seen, train_seconds=self._seconds, orders=tuple(orders))
            finally:
                group.close()

    def _workers_to_wait_for(self, start: ResumePoint) -> int:
        """Return the number of workers to wait for; resumed training waits for none."""
        has_begun = self._has_begun or start.leases > 0
        return 1 if has_begun else self._training.engine.start_with

    def _next_group(self) -> str:
        self._group_number += 1
        return f"{self._training.run}/{1000 * self._phase + self._group_number}"

    def _restored(self) -> ResumePoint:
        """Restore the store to the phase's newest snapshot, or to its start."""
        place = self._training.snapshots
        newest = None if place is None else place.newest()
        if newest is None or newest.manifest.phase != self._phase:
            if self._is_resumed:
                raise DataError(
                    f"{place}: found no complete snapshot of phase {self._phase}, expected the "
                    "one to resume from, which has the weights of earlier phases"
                )
            if self._evaluator is not None and self._unwatched is not None:
                self._evaluator.go_back(self._unwatched)
            self._watched, self._saved = TrainingProgress(), 0
            start = ResumePoint(applied=frozenset(), seen=TrainingProgress(), leases=0)
            self._training.store.restore(start, None)
            return start
        progress = progress_of(newest)
        if self._evaluator is not None and progress.watch is not None:
            self._evaluator.go_back(progress.watch)
        self._watched, self._saved = progress.seen, newest.manifest.windows
        # What this process has trained, and trains again, took its time too.
        self._seconds = max(self._seconds, progress.train_seconds)
        start = ResumePoint(
            applied=frozenset(range(newest.manifest.windows)),
            seen=progress.seen,
            leases=newest.manifest.leases,
        )
        self._training.store.restore(start, newest.shards)
        return start

    def _monitor(self, group: ServerGroup) -> TrainingProgress:
        """Monitor a server group until every window is applied."""
        pool = self._training.pool
        seconds_before = self._seconds
        while True:
            dead, servers_lost = pool.reap(self._phase, group.servers)
            if servers_lost:
                raise ServersLost("a worker lost its dispatcher or a shard")
            group.mark_dead(dead)
            status = group.status()
            self._has_begun |= status.leases > 0
            self._seconds = seconds_before + status.train_seconds
            if status.failure is not None:
                raise TrialFailed(status.failure)
            if status.seen.windows > self._watched.windows:
                pool.note_progress()
            pool.kill(status.silent)
            self._training.report_progress(status.seen)
            self._evaluate(status.seen)
            if status.is_finished:
                return status.seen
            if status.is_at_cut:
                self._save(group, status)
            time.sleep(_POLL_S)

    def _evaluate(self, seen: TrainingProgress) -> None:
        before, self._watched = self._watched, seen
        if self._evaluator is None:
            return
        loss = seen.progressive_loss - before.progressive_loss
        self._evaluator.add(
            torch.tensor([loss], dtype=torch.float64), seen.examples - before.examples
        )
        if self._evaluator.is_due(before.batches, seen.batches):
            self._evaluator.evaluate(self._training.store.arm())

    def _save(self, group: ServerGroup, status: Status) -> None:
        place, windows = self._training.snapshots, status.seen.windows
        assert place is not None
        progress = Progress(
            seen=status.seen,
            train_seconds=self._seconds,
            watch=None if self._evaluator is None else self._evaluator.state(),
            passed=self._passed,
        )
        try:
            shards = self._training.store.write(place.root, place.begin(self._phase, windows))
            place.finish(
                self._phase,
                windows,
                leases=status.leases,
                shards=shards,
                progress=to_json(progress),
            )
        except (OSError, RayTaskError) as error:
            raise TrialFailed(
                f"engine.snapshots: {place}: cannot be written: {reason(error)}"
            ) from error
        self._crashes, self._saved = 0, windows
        group.pass_cut(windows)
