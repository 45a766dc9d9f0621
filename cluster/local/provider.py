"""Starts and stops the nodes of a local cluster: processes of Ray's autoscaler."""

from __future__ import annotations

import json
from typing import Any

from ray._private import ray_constants
from ray._private.node import Node
from ray._private.parameter import RayParams
from ray.autoscaler._private.fake_multi_node.node_provider import FakeMultiNodeProvider
from ray.autoscaler.tags import (
    NODE_KIND_WORKER,
    STATUS_UP_TO_DATE,
    TAG_RAY_NODE_KIND,
    TAG_RAY_NODE_NAME,
    TAG_RAY_NODE_STATUS,
    TAG_RAY_USER_NODE_TYPE,
)


class LocalNodeProvider(FakeMultiNodeProvider):
    """Ray's fake provider, with a separate code directory for each node.

    Ray's has one for all, which every new node empties.
    """

    def _create_node_with_resources_and_labels(
        self,
        node_config: dict[str, Any],
        tags: dict[str, str],
        count: int,
        resources: dict[str, float],
        labels: dict[str, str],
    ) -> None:
        custom: dict[str, Any] = dict(resources)
        with self.lock:
            name: str = self._next_hex_node_id()  # type: ignore[no-untyped-call]
            parameters = RayParams(
                gcs_address=self._gcs_address,
                redis_address=self._gcs_address,
                min_worker_port=0,
                max_worker_port=0,
                dashboard_agent_listen_port=0,
                runtime_env_dir_name=f"runtime_resources_{name[-5:]}",
                num_cpus=custom.pop("CPU", 0),
                num_gpus=custom.pop("GPU", 0),
                resources=custom,
                labels=labels,
                env_vars={
                    "RAY_OVERRIDE_NODE_ID_FOR_TESTING": name,
                    "RAY_CLOUD_INSTANCE_ID": name,
                    "RAY_NODE_TYPE_NAME": tags[TAG_RAY_USER_NODE_TYPE],
                    ray_constants.RESOURCES_ENVIRONMENT_VARIABLE: json.dumps(custom),
                    ray_constants.LABELS_ENVIRONMENT_VARIABLE: json.dumps(labels),
                },
            )
            node = Node(parameters, head=False, shutdown_at_exit=False, spawn_reaper=False)
            told: dict[str, Any] = {
                TAG_RAY_NODE_KIND: NODE_KIND_WORKER,
                TAG_RAY_NODE_STATUS: STATUS_UP_TO_DATE,
                TAG_RAY_NODE_NAME: name,
            }
            self._nodes[name] = {"tags": told | tags, "node": node}  # type: ignore[dict-item]
