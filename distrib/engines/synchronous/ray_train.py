"""A hook in Ray Train's controller: names placement groups so that others can remove them."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import ray
from ray._raylet import PlacementGroupID
from ray.train.v2._internal.execution.callback import ControllerCallback
from ray.util.placement_group import (
    PlacementGroup,
    placement_group,
    placement_group_table,
    remove_placement_group,
)

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


def name_placement_groups(run: str) -> None:
    """Have what Ray Train reserves from now on, in this process, named after a run."""
    from ray.train.v2._internal.execution.worker_group import worker_group

    worker_group.placement_group = partial(_named, _prefix(run))  # type: ignore[attr-defined]


def remove_placement_groups(run: str) -> None:
    """Give back what is still reserved for a run of this job, none of whose processes is left."""
    for number, each in placement_group_table().items():
        if each["name"].startswith(_prefix(run)) and each["state"] != "REMOVED":
            remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(number))))


def _named(prefix: str, **asked: Any) -> PlacementGroup:
    # A name is free again only some time after its group is removed.
    return placement_group(name=f"{prefix}{uuid.uuid4().hex[:8]}", **asked)


def _prefix(run: str) -> str:
    return f"soloist-{ray.get_runtime_context().get_job_id()}-{run}-"


class ControllerHook(ControllerCallback):
    """Tells a board the controller's handle, which Ray Train does not, and names its places.

    Args:
        board: handle of the actor.
        run: the run's name.
    """

    def __init__(self, board: Any, run: str) -> None:
        self._board = board
        self._run = run

    def after_controller_start(self, train_run_context: Any) -> None:
        name_placement_groups(self._run)
        ray.get(self._board.controlled_by.remote(ray.get_runtime_context().current_actor))
