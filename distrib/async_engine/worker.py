"""A worker: an actor with a process of its own that outlives dispatchers and shards."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Protocol

from ray.exceptions import ObjectLostError, RayActorError

from distrib.async_engine.client import StoreClient
from distrib.async_engine.messages import Ending, Servers
from distrib.async_engine.post import Line, Post
from distrib.async_engine.window_loop import WindowLoop
from distrib.training import set_arithmetic
from distrib.transfer import Transfer
from distrib.trial import Trial
from distrib.window_trainer import WindowTrainer
from distrib.windows import Windows
from recsys.data.click_log import ClickLog
from recsys.data.stream import Stream
from recsys.engines import AsyncEngine
from recsys.errors import DataError
from recsys.native import operators

_HEARTBEATS_PER_LEASE = 4

LOST = (RayActorError, ObjectLostError)
"""What Ray raises where an actor, or the node with its answer, is gone"""


class Loop(Protocol):
    """Trains windows until none is left."""

    def run(self) -> None: ...


class BaseWorker(ABC):
    """Trains windows of one trial, whatever the store.

    Args:
        name: no two of a training have the same.
        place: number among the workers; whoever replaces a dead one has the same.
        log_directory: of the click log.
        trial: to train.

    Raises:
        DataError: the click log that it reaches is not the trial's.
    """

    def __init__(self, name: str, place: int, log_directory: Path, trial: Trial) -> None:
        assert isinstance(trial.recipe.engine, AsyncEngine)
        self.name = name
        self.place = place
        self.trial = trial
        self.engine = trial.recipe.engine
        self.log = ClickLog.open(log_directory)
        if self.log.fingerprint != trial.data_fingerprint:
            raise DataError(f"{log_directory}: not the click log that the trial was planned with")
        self.device = set_arithmetic(trial.recipe)
        self.stream = Stream(self.log, "train", trial.recipe.stream, [trial.seeds])
        self.windows = Windows(self.stream.batch_count, self.engine.window)
        if self.device.type == "cpu":
            operators()  # on a fresh machine they are compiled: in a lease it would take too long

    def run(self, phase: int, servers: Servers) -> Ending:
        """Train windows of a phase until none is left, or until dispatcher or a shard is gone."""
        try:
            self.loop(phase, servers).run()
        except LOST:
            return Ending.SERVERS_LOST
        return Ending.FINISHED

    @abstractmethod
    def loop(self, phase: int, servers: Servers) -> Loop:
        """Return what is to be run in a phase."""

    def post(self, phase: int) -> Post:
        """Return where this worker stands in a phase."""
        return Post(
            name=self.name,
            stream=self.stream,
            windows=self.windows,
            heartbeat_s=self.engine.lease_s / _HEARTBEATS_PER_LEASE,
            counts_examples=phase == len(self.trial.recipe.arm.phases) - 1,
        )


class Worker(BaseWorker):
    """Trains windows of one trial, with the rows that shards have."""

    _phase: int | None = None
    _trainer: WindowTrainer | None = None

    def loop(self, phase: int, servers: Servers) -> WindowLoop:
        if self._trainer is None or phase != self._phase:
            self._phase, self._trainer = phase, self._make_trainer(phase)
        post = self.post(phase)
        line = Line(post, servers.dispatcher)
        return WindowLoop(post, line, self._trainer, self.make_client(servers))

    def make_client(self, servers: Servers) -> StoreClient:
        """Return this worker's side of the store."""
        return StoreClient(servers.shards)

    def make_transfer(self) -> Transfer:
        """Return this worker's way to its device."""
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
