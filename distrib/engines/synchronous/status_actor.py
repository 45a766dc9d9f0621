"""The status of a run, between ranks and driver: progress, and why training cannot continue.

A separate module, so that the actor's process loads neither Ray Train nor PyTorch.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

_INTERVAL_S = 0.5


@dataclass(kw_only=True, slots=True)
class RunStatus:
    """The status of a run, for the driver."""

    examples: int = 0
    """Trained by all ranks, in all phases; examples trained again count once"""
    failure: Exception | None = None
    """An error that a retry would not change"""
    controller: Any = field(default=None, repr=False)
    """Handle of Ray Train's controller"""


class StatusActor:
    """Has the status of a run."""

    def __init__(self) -> None:
        self._status = RunStatus()

    def trained(self, examples: int) -> None:
        """Set the number of examples trained so far."""
        self._status.examples = max(self._status.examples, examples)

    def failed(self, failure: Exception) -> None:
        """Record why training cannot continue; the first reason is kept."""
        self._status.failure = self._status.failure or failure

    def controlled_by(self, controller: Any) -> None:
        """Set the handle of the controller, which can stop the training."""
        self._status.controller = controller

    def news(self) -> RunStatus:
        """Return the status."""
        return self._status


class RankProgressReporter:
    """The first rank's reporter: called for every batch, reports twice a second."""

    def __init__(self, status_actor: Any, *, start: int) -> None:
        self._status_actor = status_actor
        self._examples = start
        self._reported_at = 0.0

    def __call__(self, examples: int) -> None:
        self._examples += examples
        if time.monotonic() - self._reported_at >= _INTERVAL_S:
            self.flush()

    def flush(self) -> None:
        """Report now."""
        self._status_actor.trained.remote(self._examples)
        self._reported_at = time.monotonic()
