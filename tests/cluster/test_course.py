"""A sweep's course on a cluster with dashboard and tokens, whose nodes come, die and go."""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from cluster.local.autoscaling import LocalCluster
from cluster.local.processes import Process
from tests.support.experiments import small_experiment, write_experiment
from tests.support.logs import small_log
from tests.support.running import finished
from tests.support.submission import PATIENCE_S, Ended, ended, submitted, submitting, wait_until

pytestmark = pytest.mark.timeout(6 * PATIENCE_S)


FOUR_SNAPSHOTS = 40
"""In windows; a training that began anew would first write one of fewer"""


@dataclass(frozen=True, kw_only=True)
class Course:
    """What was seen of a sweep that lost a node, was stopped, and was submitted again."""

    job: str
    nodes_at_first: int
    lost: Process
    """The node that was killed"""
    moved: Process
    """The node on which the trial went on"""
    windows_before: int
    """Of the newest snapshot when the node was killed"""
    windows_after: int
    """Of the first that was seen of another run"""
    stopped: Ended
    log_at_stop: Ended
    finished_at_stop: dict[str, int]
    again: Ended
    finished_at_last: dict[str, int]
    listed: Ended
    results: Path


def snapshots(place: Path) -> dict[str, int]:
    """Return the windows of the newest snapshot of each run that wrote some."""
    found: dict[str, int] = {}
    for path in place.glob("*/*/manifest.json"):
        with suppress(FileNotFoundError):  # it gave way to a newer one
            manifest = json.loads(path.read_text())
            windows = max(manifest["windows"], found.get(manifest["run"], 0))
            found[manifest["run"]] = windows
    return found


@pytest.fixture(scope="module")
def course(cluster, tmp_path_factory) -> Course:
    """Have a sweep of three trials: one that is soon finished, a long one, one that fails."""
    place = tmp_path_factory.mktemp("course")
    kept, results = place / "snapshots", place / "results"
    document = small_experiment(small_log(place).directory, replicas=1)
    document["defaults"]["engine"] |= {"resources": {"custom": {"spot": 1}}}
    # Of 190 windows each process trains 50 at most before there is a gate.
    gate, long = place / "gate", {"name": "async", "workers": 1, "window": 2}
    document["arms"] = {
        "relu": {},
        "long": {
            "model": {
                "name": "tests.support.custom_model:gated",
                "options": {"gate": str(gate), "waits_at": 100},
            },
            "engine": long | {"snapshots": str(kept), "snapshot_every": 10},
            "stream": {"epochs": 10},
        },
        "poisoned": {"optimizer": {"sparse_learning_rate": 1e39}},
    }
    experiment = write_experiment(place / "small.yaml", document)
    sweep = ("sweep", experiment, "--output", results)

    nodes_at_first = len(cluster.nodes())
    (job,) = submitted(cluster, "--no-wait", *sweep).lines
    wait_until(lambda: max(snapshots(kept).values(), default=0) >= FOUR_SNAPSHOTS, "a snapshot")
    lost = node_of(cluster, trials(cluster)[-1])
    ((run, before),) = snapshots(kept).items()
    os.kill(lost.pid, signal.SIGKILL)
    wait_until(lambda: finished(results), "the short trial")
    elsewhere: list[Process] = []
    wait_until(
        lambda: elsewhere or elsewhere.extend(trials(cluster, but_on=lost)),
        "the long trial to run elsewhere",
    )
    moved = node_of(cluster, elsewhere[0])
    stopped = submitted(cluster, "stop", job)
    finished_at_stop = finished(results)
    log_at_stop = submitted(cluster, "follow", job)
    second = submitting(cluster, "--id", "again", *sweep)
    wait_until(lambda: snapshots(kept).keys() - {run}, "the long trial to go on")
    after = min(windows for other, windows in snapshots(kept).items() if other != run)
    gate.touch()
    again = ended(second)
    wait_until(lambda: not cluster.nodes(), "the nodes to go")

    return Course(
        job=job,
        nodes_at_first=nodes_at_first,
        lost=lost,
        moved=moved,
        windows_before=before,
        windows_after=after,
        stopped=stopped,
        log_at_stop=log_at_stop,
        finished_at_stop=finished_at_stop,
        again=again,
        finished_at_last=finished(results),
        listed=submitted(cluster, "list"),
        results=results,
    )


def trials(cluster: LocalCluster, but_on: Process | None = None) -> list[Process]:
    """Return the processes that answer for the long trial, by Ray's name for it."""
    nodes = {node.pid for node in cluster.nodes().values() if node != but_on}
    return [
        each
        for each in cluster.processes()
        if each.command.startswith("ray::long") and each.parent in nodes
    ]


def node_of(cluster: LocalCluster, process: Process) -> Process:
    (found,) = (raylet for raylet in cluster.nodes().values() if raylet.pid == process.parent)
    return found


def test_nodes_come_with_the_work_from_none_and_go_without_it(course):
    assert course.nodes_at_first == 0
    assert course.lost.environment["RAY_NODE_TYPE_NAME"] == "spot"


def test_a_trial_whose_node_is_killed_goes_on_elsewhere_from_its_last_snapshot(course):
    # It may be told beside that it waits long for a node.
    (told,) = (
        line for line in course.log_at_stop.lines if ":distrib.scheduling.runner:long: Node" in line
    )

    assert "NodeDiedError" in told
    assert told.endswith(": retry")
    assert course.moved.pid != course.lost.pid
    assert course.windows_after > course.windows_before


def test_a_stopped_job_ends_at_once_and_keeps_what_is_finished(course):
    assert course.stopped.lines == [f"{course.job}: STOPPED"]
    assert course.log_at_stop.status == 130
    assert len(course.finished_at_stop) == 1


def test_the_same_job_submitted_again_runs_what_is_missing_alone(course):
    assert course.finished_at_stop.items() < course.finished_at_last.items()
    assert len(course.finished_at_last) == 2
    assert (course.results / "report" / "tradeoff.csv").exists()


def test_failing_trials_come_through_by_name_and_in_the_exit_status(course):
    assert course.again.status == 1
    assert course.again.lines[0] == "again"
    assert course.again.lines[-3] == "soloist: 1 of 2 trials failed:"
    assert course.again.lines[-2].startswith("  poisoned: ")
    assert course.again.lines[-1] == "again: FAILED"


def test_what_was_submitted_is_listed(course):
    sweeps = [line.split()[:2] for line in course.listed.lines if "python -m jobs.sweep" in line]

    assert sweeps == [[course.job, "STOPPED"], ["again", "FAILED"]]


PROGRAM = """
import sys, time
from pathlib import Path
print(*sorted(path.as_posix() for path in Path().rglob("*.csv")), flush=True)
while not Path(sys.argv[1]).exists():
    time.sleep(0.1)
sys.exit(int(Path(sys.argv[1]).read_text()))
"""


@pytest.mark.parametrize("status", [0, 3])
def test_a_job_gets_the_working_directory_without_data_and_goes_on_unfollowed(
    cluster, tmp_path, status
):
    sent, word = tmp_path / "sent", tmp_path / "word"
    for name in ("kept.csv", "data/not.csv", "ignored/not.csv", "jobs/__init__.py"):
        (sent / name).parent.mkdir(exist_ok=True, parents=True)
        (sent / name).touch()
    (sent / "jobs" / "compare.py").write_text(PROGRAM)
    (sent / ".gitignore").write_text("ignored/\n")

    process = submitting(cluster, "--working-dir", sent, "compare", word)
    job = process.stdout.readline().strip()
    files = next(line for line in process.stdout if line.endswith(".csv\n"))
    process.send_signal(signal.SIGINT)
    left = ended(process)
    word.write_text(str(status))
    followed = submitted(cluster, "follow", job)

    assert files == "kept.csv\n"
    assert left.status == 130
    assert left.lines[-1] == (
        f"{job} is still running: soloist submit follow {job}, or soloist submit stop {job}"
    )
    assert followed.status == status
    assert "kept.csv" in followed.lines


def test_a_job_that_is_not_there_is_refused_in_one_line(cluster):
    refused = submitted(cluster, "stop", "nobody")

    assert refused.status == 2
    assert refused.told[-1].startswith("soloist: the cluster: ")
    assert refused.told[-1].endswith("Job nobody does not exist.")
