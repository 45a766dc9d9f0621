"""A hook in Ray Train's controller: names placement groups so that others can remove them."""

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
