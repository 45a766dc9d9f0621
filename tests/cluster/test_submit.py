"""``soloist submit`` where there is no cluster, or one that answers as it is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import pytest

from cluster import submit
from cluster.submit import exit_status
from jobs.cli import JOBS
from jobs.command import guarded


class Status(StrEnum):
    RUNNING = "RUNNING"
    FAILED = "FAILED"

    def is_terminal(self) -> bool:
        return self is not Status.RUNNING


@dataclass
class Asked:
    """A cluster that notes what it was asked to run."""

    asked: dict[str, Any] = field(default_factory=dict)

    def submit_job(self, **asked: Any) -> str:
        self.asked = asked
        return "job"


class Cluster:
    """A client of a cluster that lets go of every connection after a while, for some time."""

    def __init__(self, *, breaks: int) -> None:
        self._breaks = breaks
        self._statuses = [Status.RUNNING, Status.FAILED]

    def get_job_status(self, job: str) -> Status:
        if self._breaks:
            self._breaks -= 1
            raise ConnectionRefusedError("refused\nat length")
        return self._statuses.pop(0)

    async def tail_job_logs(self, job: str) -> AsyncIterator[str]:
        yield "one\n"
        raise ConnectionResetError

    def get_job_logs(self, job: str) -> str:
        return "one\ntwo\n"

    def get_job_info(self, job: str) -> SimpleNamespace:
        return SimpleNamespace(status=Status.FAILED, driver_exit_code=3)


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch) -> None:
    monkeypatch.setattr("cluster.submit._POLL_S", 0.0)


def asked_for(monkeypatch, *arguments: str) -> dict[str, Any]:
    """Return what a cluster is asked to run by a command line, which ends well."""
    cluster = Asked()
    monkeypatch.setattr(submit, "_cluster", lambda: nullcontext(cluster))
    with pytest.raises(SystemExit) as ended:
        submit.submit(["--no-wait", *arguments], program="soloist submit")
    assert ended.value.code == 0
    return cluster.asked


@pytest.mark.parametrize("name", [*JOBS, "benchmark"])
def test_every_job_is_submitted_with_all_that_follows_its_name(name, monkeypatch, capsys):
    asked = asked_for(monkeypatch, name, "gpu", "--part", "a b", "--help")

    module = name.replace("-", "_")
    assert asked["entrypoint"] == f"python -m jobs.{module} gpu --part 'a b' --help"
    assert find_spec(f"jobs.{module}") is not None
    assert capsys.readouterr().out == "job\n"


def test_a_job_that_computes_itself_can_ask_for_a_node_with_gpus(monkeypatch):
    asked = asked_for(monkeypatch, "--gpus", "1", "benchmark", "gpu")
    unasked = asked_for(monkeypatch, "benchmark", "gpu")

    assert (asked["entrypoint_num_gpus"], unasked["entrypoint_num_gpus"]) == (1, None)


def test_a_connection_that_breaks_loses_and_repeats_nothing(capsys):
    with pytest.raises(SystemExit) as ended:
        submit.show_to_end(Cluster(breaks=3), "job")

    assert ended.value.code == 3
    assert capsys.readouterr().out == "one\ntwo\njob: FAILED\n"


def test_where_the_connection_stays_broken_it_is_said_that_the_job_may_go_on(capsys, monkeypatch):
    monkeypatch.setattr("cluster.submit._PATIENCE_S", 0.0)

    with pytest.raises(SystemExit) as ended:
        submit.show_to_end(Cluster(breaks=10**9), "job")

    assert ended.value.code == 1
    assert capsys.readouterr().err == (
        "soloist: the cluster does not answer any more: refused; job may go on: soloist submit"
        " follow job\n"
    )


def test_nobody_follows_a_job_for_a_reader_who_has_left(monkeypatch):
    def closed(*_: object, **__: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("builtins.print", closed)

    with pytest.raises(BrokenPipeError):
        submit.show_to_end(Cluster(breaks=0), "job")


def test_a_cluster_that_is_not_there_is_refused_in_one_line(monkeypatch, capsys):
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:1")

    with pytest.raises(SystemExit) as ended:
        guarded(submit.list_jobs)()

    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "soloist: the cluster: Failed to connect to Ray at address: http://127.0.0.1:1.\n"
    )


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
