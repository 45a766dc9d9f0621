"""What a training measures shows where Prometheus looks."""

from __future__ import annotations

import re
import time
from http.client import HTTPException
from urllib.request import urlopen

import pytest
import ray

from distrib.engines.asynchronous import driver
from distrib.engines.registry import train
from tests.support.crashing import in_background, slow_worker
from tests.support.logs import small_log, small_recipe, trials

pytestmark = [pytest.mark.usefixtures("ray_cluster"), pytest.mark.timeout(600)]
BATCH, WORKERS = 32, 2
NAMES = (
    "soloist_examples_total",
    "soloist_pulled_bytes_total",
    "soloist_pushed_bytes_total",
    "soloist_workers",
    "soloist_staleness_windows_count",
    "soloist_window_seconds_count",
)


def exported(trial: str) -> dict[str, float]:
    """Return what the node's endpoint says of a trial now, by name, the largest of each.

    That is nothing as long as it does not answer: it starts after Ray does.
    """
    (node,) = ray.nodes()
    address = f"http://127.0.0.1:{node['MetricsExportPort']}/metrics"
    try:
        with urlopen(address, timeout=30) as page:
            text = page.read().decode()
    except (OSError, HTTPException):
        return {}
    found: dict[str, float] = {}
    for name, labels, value in re.findall(r"^ray_(soloist_\w+)\{(.*)\} (\S+)$", text, re.MULTILINE):
        if f'trial="{trial}"' in labels:
            found[name] = max(found.get(name, 0.0), float(value))
    return found


def agree(found: dict[str, float]) -> bool:
    """Tell whether all is there, and not from the middle of a window's report."""
    return (
        all(map(found.get, NAMES))
        and found["soloist_workers"] == WORKERS
        and found["soloist_pushed_bytes_total"] == found["soloist_pulled_bytes_total"]
    )


class Stopped(Exception):
    """What the test stops the training with."""


def test_examples_bytes_workers_staleness_and_latency_show_in_rays_endpoint(
    tmp_path, monkeypatch
) -> None:
    log = small_log(tmp_path)
    monkeypatch.setattr(driver, "Worker", slow_worker(0.05, tmp_path))
    engine = {"name": "async", "workers": WORKERS, "shards": 1, "window": 1}
    (trial,) = trials(log, small_recipe(engine=engine, stream={"epochs": 300}), 1)
    found: dict[str, float] = {}
    told: list[int] = []

    def tell(examples: int) -> None:
        told.append(examples)
        if agree(found) and found["soloist_examples_total"] <= sum(told):
            raise Stopped

    thread, outcome = in_background(lambda: train(log, [trial], on_progress=tell))
    while thread.is_alive() and not agree(found):
        time.sleep(0.2)
        found = exported(trial.digest)
    thread.join()

    assert isinstance(outcome[0], Stopped)
    assert found["soloist_workers"] == WORKERS
    assert found["soloist_examples_total"] % BATCH == 0
    assert found["soloist_examples_total"] > 0
    # The same rows come and go, so every window pulls what it pushes.
    assert found["soloist_pushed_bytes_total"] == found["soloist_pulled_bytes_total"]
