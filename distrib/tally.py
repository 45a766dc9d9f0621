"""How far running groups are: workers tell one small actor, the driver asks it.

Apart from the runner, so that the actor's process loads neither PyTorch nor TorchRec.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

_INTERVAL_S = 0.5


class Tally:
    """Examples trained, by attempt."""

    def __init__(self) -> None:
        self._examples: dict[str, int] = {}

    def tell(self, attempt: str, examples: int) -> None:
        """Take how many examples an attempt has trained until now."""
        self._examples[attempt] = examples

    def read(self) -> dict[str, int]:
        """Return what all attempts told."""
        return self._examples


class TallyReader:
    """The driver's side: has the actor on its own node, so that no other's death ends it."""

    def __init__(self) -> None:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self.actor: Any = ray.remote(num_cpus=0)(Tally).options(scheduling_strategy=here).remote()
        self._last: dict[str, int] = {}

    def read(self) -> dict[str, int]:
        """Return what is known; a display must never stop a sweep, so an old reading will do."""
        with suppress(RayError):
            self._last = ray.get(self.actor.read.remote(), timeout=5)
        return self._last

    def close(self) -> None:
        """End the actor."""
        ray.kill(self.actor)


class TallyWriter:
    """A worker's side: tells at once that it has begun; called for every batch, twice a second."""

    def __init__(self, actor: Any, attempt: str) -> None:
        self._actor = actor
        self._attempt = attempt
        self._examples = 0
        self._told_at = float("-inf")
        self(0)

    def __call__(self, examples: int) -> None:
        self._examples += examples
        now = time.monotonic()
        if now - self._told_at >= _INTERVAL_S:
            self._told_at = now
            self._actor.tell.remote(self._attempt, self._examples)
