"""Hooks into Ray Train: the controller's handle, and named placement groups."""

from __future__ import annotations

import uuid
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
