"""A status actor between ranks and driver: progress, and why training cannot continue.

A module of its own, so that its process loads neither PyTorch nor TorchRec.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

_INTERVAL_S = 0.5


@dataclass(kw_only=True, slots=True)
class RunStatus:
    """What the driver learns."""

    examples: int = 0
    """Trained on by all ranks, in all phases and tries; what is trained again counts once"""
    failure: Exception | None = None
    """What trying again would not mend"""
    controller: Any = field(default=None, repr=False)
    """Handle of Ray Train's controller"""


class StatusActor:
    """Holds the news."""

    def __init__(self) -> None:
        self._news = RunStatus()

    def trained(self, examples: int) -> None:
        """Take how many examples are trained on until now."""
        self._news.examples = max(self._news.examples, examples)

    def failed(self, failure: Exception) -> None:
        """Take why a training cannot go on; the first reason counts."""
        self._news.failure = self._news.failure or failure

    def controlled_by(self, controller: Any) -> None:
        """Take the handle that can end the training."""
        self._news.controller = controller

    def news(self) -> RunStatus:
        """Return the news."""
        return self._news


class RankProgressReporter:
    """The first rank's side: called for every batch, it tells twice a second."""

    def __init__(self, board: Any, *, start: int) -> None:
        self._board = board
        self._examples = start
        self._told_at = 0.0

    def __call__(self, examples: int) -> None:
        self._examples += examples
        if time.monotonic() - self._told_at >= _INTERVAL_S:
            self.flush()

    def flush(self) -> None:
        """Tell now."""
        self._board.trained.remote(self._examples)
        self._told_at = time.monotonic()
