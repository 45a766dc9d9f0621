"""Progress of a run: a small actor collects it from workers, the driver reads it.

A module of its own, so that the actor's process loads neither PyTorch nor TorchRec.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

_INTERVAL_S = 0.5


class ProgressActor:
    """Examples trained, by attempt."""

    def __init__(self) -> None:
        self._examples: dict[str, int] = {}

    def tell(self, attempt: str, examples: int) -> None:
        """Take how many examples an attempt has trained until now."""
        self._examples[attempt] = examples

    def read(self) -> dict[str, int]:
        """Return what all attempts told."""
        return self._examples


class ProgressReader:
    """The driver's side: has the actor on its own node, so that no other's death ends it."""

    def __init__(self) -> None:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        tally = ray.remote(num_cpus=0)(ProgressActor).options(
            scheduling_strategy=here, max_restarts=-1
        )
        self.actor: Any = tally.remote()
        self.is_fresh = False
        """Whether the last reading is what the actor knew then"""
        self._last: dict[str, int] = {}

    def read(self) -> dict[str, int]:
        """Return what is known; a display must never stop a sweep, so an old reading will do."""
        self.is_fresh = False
        with suppress(RayError):
            self._last = ray.get(self.actor.read.remote(), timeout=5)
            self.is_fresh = True
        return self._last

    def close(self) -> None:
        """End the actor."""
        ray.kill(self.actor)


class ProgressReporter:
    """A worker's side: called for every batch, it tells twice a second.

    Args:
        actor: handle of the tally.
        attempt: what is told of.
        begins_alone: whether it has begun as soon as its process runs; or else with its first
            batch, since its workers may yet wait for places.
    """

    def __init__(self, actor: Any, attempt: str, *, begins_alone: bool) -> None:
        self._actor = actor
        self._attempt = attempt
        self._begins_alone = begins_alone
        self._examples = 0
        self._told_at = float("-inf")

    def begin(self) -> None:
        """Tell that the process runs, if that is the beginning."""
        if self._begins_alone:
            self(0)

    def __call__(self, examples: int) -> None:
        self._examples += examples
        now = time.monotonic()
        if now - self._told_at >= _INTERVAL_S:
            self._told_at = now
            self._actor.tell.remote(self._attempt, self._examples)
