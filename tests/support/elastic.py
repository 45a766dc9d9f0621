"""Trains on a Ray of nodes that come and go; a script, since it needs a Ray of its own.

``python -m tests.support.elastic DIRECTORY`` trains the counting model with two workers on a node
that has room for one, adds a node, kills it again with all of its processes, and writes what came
out as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster

from distrib.engines.asynchronous import driver
from distrib.engines.asynchronous import worker_pool as crew
from distrib.engines.asynchronous.messages import Servers
from distrib.engines.asynchronous.rpc import StoreClient
from distrib.engines.asynchronous.worker import Worker
from distrib.engines.registry import train
from distrib.scheduling.processes import own_name
from distrib.trials.trial import Trial
from recsys.config import Recipe
from recsys.data.click_log import ClickLog
from tests.support.counting import counting_fields
from tests.support.crashing import in_background
from tests.support.logs import small_log, trials
from tests.support.patience import PATIENCE_S
from tests.support.signed import file_of, living

BATCH, EPOCHS = 32, 4
HURRY = "hurry"
OUTCOME = "outcome.json"
SLOW_S = 0.4
FEW = 4


def main(directory: Path) -> None:
    """Train, and write the digests of all tensors and which windows were applied."""
    pids = directory / "pids"
    pids.mkdir()
    driver.Worker = unhurried_worker(pids, directory / HURRY)  # type: ignore[misc]
    crew._PATIENCE_S = 2.0  # at the end one worker has no place, and so nothing to notice
    log = small_log(directory)
    engine = {
        "name": "async",
        "workers": 2,
        "shards": 2,
        "window": 1,
        "record": True,
        "lease_s": 60,
    }
    recipe = Recipe.model_validate(counting_fields(BATCH, EPOCHS, **engine))
    (trial,) = trials(log, recipe, 1)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        ray.init(address=cluster.address, log_to_driver=False)
        came_out = _come_and_go(cluster, log, trial, directory)
        (directory / OUTCOME).write_text(json.dumps(came_out))
    finally:
        ray.shutdown()
        cluster.shutdown()


def unhurried_worker(pids: Path, hurry: Path) -> type[Worker]:
    """Return a worker that takes its time until a file is there.

    It leaves a file named by its process, with the windows that it pushes.
    """

    class Client(StoreClient):
        def _push_to(self, shard: int, push: Any, route: Any, change: Any) -> Any:
            time.sleep(0.0 if hurry.exists() else SLOW_S)
            with file_of(own_name(), pids).open("a") as pushed:
                pushed.write(f"{push.window}\n")
            return super()._push_to(shard, push, route, change)

    class Unhurried(Worker):
        def make_client(self, servers: Servers) -> StoreClient:
            file_of(own_name(), pids).touch()
            return Client(servers.shards)

    return Unhurried


def _come_and_go(
    cluster: Cluster, log: ClickLog, trial: Trial, directory: Path
) -> dict[str, object]:
    pids = directory / "pids"
    told: list[int] = []
    thread, outcome = in_background(lambda: train(log, [trial], on_progress=told.append))

    def wait_until(condition: Callable[[], bool]) -> None:
        give_up = time.monotonic() + PATIENCE_S
        while thread.is_alive() and not condition():
            if time.monotonic() > give_up:
                raise TimeoutError(f"{sum(told)} examples, workers {living(pids)}")
            time.sleep(0.05)

    wait_until(lambda: sum(told) > 0)
    alone = living(pids)
    node = cluster.add_node(num_cpus=1)
    wait_until(lambda: len(living(pids)) > 1)
    joined = living(pids)
    (newcomer,) = set(joined) - set(alone)
    pushed = file_of(newcomer, pids)
    wait_until(lambda: len(pushed.read_text().split()) > FEW)
    cluster.remove_node(node, allow_graceful=False)
    (directory / HURRY).touch()
    thread.join()
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    (result,) = outcome[0]
    order = result.recording.order
    applied = order[order["is_push"] & order["applied"]]
    return {
        "workers_before": len(alone),
        "workers_with_the_node": len(joined),
        "pushes_of_the_node": len(pushed.read_text().split()),
        "digests": result.recording.digests,
        "windows": [sorted(map(int, shard["window"])) for _, shard in applied.groupby("shard")],
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
