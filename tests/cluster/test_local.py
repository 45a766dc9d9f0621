"""A cluster on this machine, whose nodes come with the work, die in the middle, and go."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from cluster.local.autoscaling import LocalCluster
from cluster.local.processes import Process, end_marked, marked
from tests.support.experiments import small_experiment, write_experiment
from tests.support.logs import small_log
from tests.support.submission import PATIENCE_S, ended, submitting, wait_until


def trials_on(cluster: LocalCluster, arm: str) -> list[Process]:
    """Return the processes that train an arm, by Ray's name for them."""
    return [each for each in cluster.processes() if each.command.startswith(f"ray::{arm}")]


def snapshots(place: Path) -> dict[str, int]:
    """Return the windows of the newest snapshot of each run that wrote some."""
    found: dict[str, int] = {}
    for path in sorted(place.glob("*/*/manifest.json")):
        manifest = json.loads(path.read_text())
        found[manifest["run"]] = manifest["windows"]
    return found


@pytest.mark.timeout(4 * PATIENCE_S)
def test_a_sweep_starts_nodes_survives_the_death_of_one_and_lets_them_go(cluster, tmp_path):
    log = small_log(tmp_path)
    kept = tmp_path / "snapshots"
    engine = {
        "name": "async",
        "workers": 1,
        "window": 2,
        "snapshots": str(kept),
        "snapshot_every": 40,
        "resources": {"custom": {"spot": 1}},
    }
    document = small_experiment(log.directory, replicas=1)
    document["arms"]["spot"] = {"engine": engine, "stream": {"epochs": 60}}
    experiment = write_experiment(tmp_path / "small.yaml", document)
    results = tmp_path / "results"
    wait_until(lambda: not cluster.nodes(), "the nodes of earlier work to go")

    job = submitting(cluster, "sweep", experiment, "--output", results)
    wait_until(lambda: snapshots(kept), "a snapshot on a node that came with the work")
    (trial,) = trials_on(cluster, "spot")
    nodes = cluster.nodes()
    (before,) = snapshots(kept).values()
    (lost,) = (name for name, raylet in nodes.items() if raylet.pid == trial.parent)
    os.kill(nodes[lost].pid, signal.SIGKILL)
    wait_until(lambda: len(snapshots(kept)) == 2, "the trial to run elsewhere")
    elsewhere = cluster.nodes()
    swept = ended(job)
    wait_until(lambda: not cluster.nodes(), "the nodes to go")

    (told,) = (line for line in swept.lines if line.startswith("WARNING:distrib.runner:"))
    assert "spot: NodeDiedError" in told
    assert told.endswith(": retry")
    assert swept.status == 0, "\n".join(swept.lines)
    assert len(list(results.glob("trials/[!.]*/DONE"))) == 3
    assert lost not in elsewhere
    assert elsewhere.keys() - nodes.keys()
    assert min(snapshots(kept).values()) >= before
    assert (results / "report" / "tradeoff.csv").exists()


def test_what_is_marked_is_ended_and_nothing_else(tmp_path):
    mine, other = (
        subprocess.Popen(["sleep", "100"], env=os.environ | {"SOLOIST_TEST_MARK": value})
        for value in (str(tmp_path), "another")
    )
    deaf = subprocess.Popen(
        ["sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"],
        env=os.environ | {"SOLOIST_TEST_MARK": str(tmp_path)},
    )
    wait_until(lambda: len(marked("SOLOIST_TEST_MARK", str(tmp_path))) >= 2, "both to start")

    end_marked("SOLOIST_TEST_MARK", str(tmp_path), patience_s=0.2)

    assert marked("SOLOIST_TEST_MARK", str(tmp_path)) == []
    assert (mine.wait(), deaf.wait()) == (-signal.SIGTERM, -signal.SIGKILL)
    assert other.poll() is None
    other.kill()
    other.wait()
