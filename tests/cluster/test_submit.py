"""``soloist submit`` on a real cluster with its dashboard and tokens."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.submit import exit_status
from tests.support.experiments import small_experiment, write_experiment
from tests.support.logs import small_log
from tests.support.submission import PATIENCE_S, submitted, wait_until


def finished(directory: Path) -> dict[str, int]:
    """Return the finished trials and when each was finished, in nanoseconds."""
    return {
        done.parent.name: done.stat().st_mtime_ns for done in directory.glob("trials/[!.]*/DONE")
    }


@pytest.mark.timeout(4 * PATIENCE_S)
def test_a_stopped_job_goes_on_when_submitted_again_and_its_failures_come_through(
    cluster, tmp_path
):
    log = small_log(tmp_path)
    poisoned = {"activation": "relu", "optimizer": {"sparse_learning_rate": 1e39}}
    document = small_experiment(log.directory, fuse=1, replicas=3)
    document["arms"]["poisoned"] = poisoned | {"replicas": 1}
    document["arms"]["smelu"]["stream"] = {"epochs": 20}
    experiment = write_experiment(tmp_path / "small.yaml", document)
    results = tmp_path / "results"
    sweep = ["sweep", experiment, "--output", results]

    status, (job, *_) = submitted(cluster, "--no-wait", *sweep)
    wait_until(lambda: finished(results), "the first trial of the job")
    stopped = submitted(cluster, "stop", job)
    after_stop = finished(results)
    again, said = submitted(cluster, "--id", "again", *sweep)
    listed = submitted(cluster, "list")[1]

    assert status == 0
    assert stopped == (0, [f"{job}: STOPPED"])
    assert 0 < len(after_stop) < 6
    assert after_stop.items() < finished(results).items()
    assert len(finished(results)) == 6
    assert again == 1
    assert said[0] == "again"
    assert said[-3].endswith("1 of 4 trials failed:") or "trials failed:" in said[-3]
    assert said[-2].startswith("  poisoned: ")
    assert said[-1] == "again: FAILED"
    assert [line.split()[:2] for line in listed if "python -m jobs.sweep" in line] == [
        [job, "STOPPED"],
        ["again", "FAILED"],
    ]


def test_a_job_gets_the_working_directory_without_data_and_ends_with_its_own_status(
    cluster, tmp_path
):
    for name in ("sent.csv", "data/kept.csv", "ignored/kept.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("example,label,prediction\n1,0,0.5\n2,1,0.5\n")
    (tmp_path / ".gitignore").write_text("ignored/\n")

    both_there = submitted(cluster, "compare", "sent.csv", "./sent.csv", directory=tmp_path)
    of_data = submitted(cluster, "compare", "sent.csv", "data/kept.csv", directory=tmp_path)
    of_ignored = submitted(cluster, "compare", "sent.csv", "ignored/kept.csv", directory=tmp_path)

    assert both_there[0] == 0, both_there
    assert of_data[0] == of_ignored[0] == 2
    assert "data/kept.csv" in of_data[1][-2]
    assert "ignored/kept.csv" in of_ignored[1][-2]


def test_a_job_that_is_not_there_is_refused_in_one_line(cluster):
    status, (line,) = submitted(cluster, "stop", "nobody")

    assert status == 2
    assert line.startswith("soloist: the cluster: ")
    assert "nobody" in line


def test_a_cluster_that_is_not_there_is_refused_in_one_line(cluster):
    status, (line,) = submitted(cluster, "--address", "http://127.0.0.1:1", "list")

    assert status == 2
    assert "127.0.0.1:1" in line


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        ("SUCCEEDED", 0, 0),
        ("FAILED", 1, 1),
        ("FAILED", 2, 2),
        ("FAILED", 137, 137),
        ("FAILED", -9, 137),
        ("FAILED", None, 1),
        ("STOPPED", None, 130),
    ],
)
def test_a_jobs_exit_status_is_its_drivers(status, code, expected):
    assert exit_status(status, code) == expected
