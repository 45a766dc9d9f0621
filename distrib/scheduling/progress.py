"""Progress of a run: a small actor collects it from workers, the driver reads it.

A separate module, so that the actor's process loads neither PyTorch nor TorchRec.
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
        """Set the number of examples that an attempt has trained so far."""
        self._examples[attempt] = examples

    def read(self) -> dict[str, int]:
        """Return the numbers of all attempts."""
        return self._examples


class ProgressReader:
    """The driver's side; runs the actor on its own node."""

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
        """Return the latest numbers, or older ones if the actor does not reply."""
        self.is_fresh = False
        with suppress(RayError):
            self._last = ray.get(self.actor.read.remote(), timeout=5)
            self.is_fresh = True
        return self._last

    def close(self) -> None:
        """Stop the actor."""
        ray.kill(self.actor)


class ProgressReporter:
    """A worker's side: called for every batch, reports twice a second.

    Args:
        actor: handle of the actor.
        attempt: the attempt.
        begins_alone: whether it begins when its process runs; otherwise with its first batch,
            because its workers may wait for resources.
    """

    def __init__(self, actor: Any, attempt: str, *, begins_alone: bool) -> None:
        self._actor = actor
        self._attempt = attempt
        self._begins_alone = begins_alone
        self._examples = 0
        self._reported_at = float("-inf")

    def begin(self) -> None:
        """Report that the process runs, if that is the beginning."""
        if self._begins_alone:
            self(0)

    def __call__(self, examples: int) -> None:
        self._examples += examples
        now = time.monotonic()
        if now - self._reported_at >= _INTERVAL_S:
            self._reported_at = now
            self._actor.tell.remote(self._attempt, self._examples)
