"""A worker: an actor with a process of its own that outlives dispatchers and shards."""

from __future__ import annotations

from pathlib import Path

from ray.exceptions import ObjectLostError, RayActorError

from distrib.async_engine.client import StoreClient
from distrib.async_engine.messages import Ending, Servers
from distrib.async_engine.window_loop import Post, WindowLoop
from distrib.training import set_arithmetic
from distrib.transfer import Transfer
from distrib.trial import Trial
from distrib.window_trainer import WindowTrainer
from distrib.windows import Windows
from recsys.data.click_log import ClickLog
from recsys.data.stream import Stream
from recsys.engines import AsyncEngine
from recsys.errors import DataError

_BEATS_PER_LEASE = 4

LOST = (RayActorError, ObjectLostError)
"""What Ray raises where an actor, or the node with its answer, is gone"""


class Worker:
    """Trains windows of one trial.

    Raises:
        DataError: the click log that it reaches is not the trial's.
    """

    def __init__(self, name: str, log_directory: Path, trial: Trial) -> None:
        engine = trial.recipe.engine
        assert isinstance(engine, AsyncEngine)
        self._name = name
        self._trial = trial
        self._engine = engine
        self._log = ClickLog.open(log_directory)
        if self._log.fingerprint != trial.data_fingerprint:
            raise DataError(f"{log_directory}: not the click log that the trial was planned with")
        self._device = set_arithmetic(trial.recipe)
        self._stream = Stream(self._log, "train", trial.recipe.stream, [trial.seeds])
        self._phase: int | None = None
        self._trainer: WindowTrainer | None = None

    def run(self, phase: int, servers: Servers) -> Ending:
        """Train windows of a phase until none is left, or until dispatcher or a shard is gone."""
        if self._trainer is None or phase != self._phase:
            self._phase, self._trainer = phase, self._make_trainer(phase)
        post = Post(
            name=self._name,
            stream=self._stream,
            windows=Windows(self._stream.batch_count, self._engine.window),
            beat_s=self._engine.lease_s / _BEATS_PER_LEASE,
            counts_examples=phase == len(self._trial.recipe.arm.phases) - 1,
        )
        try:
            WindowLoop(post, self._trainer, servers.dispatcher, self.make_client(servers)).run()
        except LOST:
            return Ending.SERVERS_LOST
        return Ending.FINISHED

    def make_client(self, servers: Servers) -> StoreClient:
        """Return this worker's side of the store."""
        return StoreClient(servers.shards)

    def make_transfer(self) -> Transfer:
        """Return this worker's way to its device."""
        return Transfer(self._device)

    def _make_trainer(self, phase: int) -> WindowTrainer:
        return WindowTrainer(
            self._trial.recipe,
            self._log.schema,
            [self._trial.seeds],
            self._trial.recipe.arm.phases[phase],
            batch_count=self._stream.batch_count,
            transfer=self.make_transfer(),
            delta_scale=self._engine.delta_scale,
        )
