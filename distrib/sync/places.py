"""The places that Ray Train reserves for ranks, named so that another process can give them back.

Ray keeps a placement group whose maker was killed until the whole job ends, and Ray Train's own
cleaner sees neither one that is yet pending nor, on a Ray without dashboard, any.
"""

from __future__ import annotations

import uuid
from functools import partial
from typing import Any

import ray
from ray._raylet import PlacementGroupID
from ray.util.placement_group import (
    PlacementGroup,
    placement_group,
    placement_group_table,
    remove_placement_group,
)


def name_places(run: str) -> None:
    """Have what Ray Train reserves from now on, in this process, named after a run."""
    from ray.train.v2._internal.execution.worker_group import worker_group

    worker_group.placement_group = partial(_named, _prefix(run))  # type: ignore[attr-defined]


def give_back(run: str) -> None:
    """Give back what is still reserved for a run of this job, none of whose processes is left."""
    for number, each in placement_group_table().items():
        if each["name"].startswith(_prefix(run)) and each["state"] != "REMOVED":
            remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(number))))


def _named(prefix: str, **asked: Any) -> PlacementGroup:
    # A name is free again only some time after its group is removed.
    return placement_group(name=f"{prefix}{uuid.uuid4().hex[:8]}", **asked)


def _prefix(run: str) -> str:
    return f"soloist-{ray.get_runtime_context().get_job_id()}-{run}-"
