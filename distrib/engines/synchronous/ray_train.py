"""Hooks into Ray Train: the status actor, the controller's handle, named placement groups."""

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
    """The status of a run, for the driver."""

    examples: int = 0
    """Trained on by all ranks, in all phases and tries; what is trained again counts once"""
    failure: Exception | None = None
    """What trying again would not mend"""
    controller: Any = field(default=None, repr=False)
    """Handle of Ray Train's controller"""


class StatusActor:
    """Has the status of a run."""

    def __init__(self) -> None:
        self._news = RunStatus()

    def trained(self, examples: int) -> None:
        """Set the number of examples trained so far."""
        self._news.examples = max(self._news.examples, examples)

    def failed(self, failure: Exception) -> None:
        """Record why training cannot continue; the first reason is kept."""
        self._news.failure = self._news.failure or failure

    def controlled_by(self, controller: Any) -> None:
        """Set the handle of the controller, which can stop the training."""
        self._news.controller = controller

    def news(self) -> RunStatus:
        """Return the status."""
        return self._news


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


def name_placement_groups(run: str) -> None:
    """Name all placement groups that Ray Train creates in this process after a run."""
    from ray.train.v2._internal.execution.worker_group import worker_group

    worker_group.placement_group = partial(_named, _prefix(run))  # type: ignore[attr-defined]


def remove_placement_groups(run: str) -> None:
    """Remove the placement groups of a run that has no processes left."""
    for number, each in placement_group_table().items():
        if each["name"].startswith(_prefix(run)) and each["state"] != "REMOVED":
            remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(number))))


def _named(prefix: str, **asked: Any) -> PlacementGroup:
    # A name is free again only some time after its group is removed.
    return placement_group(name=f"{prefix}{uuid.uuid4().hex[:8]}", **asked)


def _prefix(run: str) -> str:
    return f"soloist-{ray.get_runtime_context().get_job_id()}-{run}-"


class ControllerHook(ControllerCallback):
    """Passes the controller's handle to the status actor, and names placement groups.

    Args:
        status_actor: handle of the status actor.
        run: the run's name.
    """

    def __init__(self, status_actor: Any, run: str) -> None:
        self._status_actor = status_actor
        self._run = run

    def after_controller_start(self, train_run_context: Any) -> None:
        name_placement_groups(self._run)
        ray.get(self._status_actor.controlled_by.remote(ray.get_runtime_context().current_actor))
