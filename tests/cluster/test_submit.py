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
    document = small_experiment(log.directory, replicas=1)
    document["arms"]["smelu"]["stream"] = {"epochs": 60}
    document["arms"]["poisoned"] = {"optimizer": {"sparse_learning_rate": 1e39}}
    experiment = write_experiment(tmp_path / "small.yaml", document)
    results = tmp_path / "results"
    sweep = ["sweep", experiment, "--output", results]

    (job,) = submitted(cluster, "--no-wait", *sweep).lines
    wait_until(lambda: finished(results), "the first trial of the job")
    stopped = submitted(cluster, "stop", job)
    after_stop = finished(results)
    again = submitted(cluster, "--id", "again", *sweep)
    listed = submitted(cluster, "list").lines

    assert stopped.lines == [f"{job}: STOPPED"]
    assert len(after_stop) == 1
    assert after_stop.items() < finished(results).items()
    assert len(finished(results)) == 2
    assert again.status == 1
    assert again.lines[0] == "again"
    assert again.lines[-3] == "soloist: 1 of 2 trials failed:"
    assert again.lines[-2].startswith("  poisoned: ")
    assert again.lines[-1] == "again: FAILED"
    sweeps = [line.split()[:2] for line in listed if "python -m jobs.sweep" in line]
    assert sweeps[-2:] == [
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

    kept = submitted(cluster, "compare", "sent.csv", "data/kept.csv", directory=tmp_path)
    ignored = submitted(cluster, "compare", "sent.csv", "ignored/kept.csv", directory=tmp_path)

    assert kept.status == ignored.status == 2
    assert kept.lines[-2].startswith("soloist: data/kept.csv: no such file")
    assert ignored.lines[-2].startswith("soloist: ignored/kept.csv: no such file")


def test_a_job_that_is_not_there_is_refused_in_one_line(cluster):
    refused = submitted(cluster, "stop", "nobody")

    assert refused.status == 2
    assert refused.told[-1].startswith("soloist: the cluster: ")
    assert refused.told[-1].endswith("Job nobody does not exist.")


def test_a_cluster_that_is_not_there_is_refused_in_one_line(cluster):
    refused = submitted(cluster, "--address", "http://127.0.0.1:1", "list")

    assert refused.status == 2
    assert refused.told == [
        "soloist: the cluster: Failed to connect to Ray at address: http://127.0.0.1:1."
    ]


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
