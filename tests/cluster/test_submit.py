"""``soloist submit`` where there is no cluster, or one that answers as it is told."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from cluster import submit
from cluster.submit import exit_status
from jobs.cli import JOBS
from jobs.command import exit_on_error


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


def refused(*arguments: str, capsys) -> str:
    """Return the one line with which a command line is refused as bad input."""
    with pytest.raises(SystemExit) as ended:
        submit.submit(list(arguments), program="soloist submit")
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize(
    ("variable", "address"),
    [
        ("--address", "127.0.0.1:6379"),
        ("--address", "ray://127.0.0.1:10001"),
        ("--address", "auto"),
        ("RAY_API_SERVER_ADDRESS", "127.0.0.1:6379"),
        ("RAY_ADDRESS", "ray://127.0.0.1:10001"),
    ],
)
def test_an_address_that_is_no_dashboards_is_refused(variable, address, monkeypatch, capsys):
    option = ["--address", address] if variable == "--address" else []
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_ADDRESS" if option else variable, address)

    line = refused(*option, "list", capsys=capsys)

    assert line == f"soloist: {variable} {address}: expected http://HOST:8265"


def test_a_dead_cluster_of_the_environment_is_refused(monkeypatch, capsys):
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setattr("distrib.scheduling.session._ANSWER_S", 0.5)

    line = refused("list", capsys=capsys)

    assert line.startswith("soloist: RAY_ADDRESS 127.0.0.1:1: nothing answers within 0.5 s")


def test_without_an_address_or_a_cluster_here_rays_usual_port_is_asked(monkeypatch, capsys):
    def refuse(url: str, **_: object) -> None:
        raise requests.ConnectionError(url)

    for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("ray._private.services.find_gcs_addresses", set)
    monkeypatch.setattr("ray._private.services.find_bootstrap_address", lambda _: None)
    monkeypatch.setattr("requests.get", refuse)

    line = refused("list", capsys=capsys)

    assert line == (
        "soloist: the cluster: Failed to connect to Ray at address: http://127.0.0.1:8265."
    )


def test_a_dashboard_that_accepts_but_says_nothing_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(submit, "_ANSWER_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("RAY_API_SERVER_ADDRESS", f"http://user:SEC/RET@{address}")

        line = refused("list", capsys=capsys)

    assert line == f"soloist: the cluster: Failed to connect to Ray at address: http://{address}."


def test_arguments_with_credentials_are_not_shown_to_a_cluster(monkeypatch, capsys):
    monkeypatch.setattr(submit, "_cluster", lambda: pytest.fail("asked the cluster"))

    line = refused("sweep", "my", "--output", "s3://AKIA:SEC/RET@bucket/x", capsys=capsys)

    assert line == (
        "soloist: s3://bucket/x: found credentials, which Ray shows to all users of the cluster; "
        "expected them in the environment of its nodes, such as AWS_ACCESS_KEY_ID"
    )


def test_a_list_shows_commands_as_they_are_but_for_credentials(monkeypatch, capsys):
    command = "python -m jobs.sweep x 'vary=[shuffle,init]' :smile: -o s3://K:SEC/RET@bucket/x"
    job = SimpleNamespace(
        submission_id="[red]a[/red]",
        job_id=None,
        status="FAILED",
        start_time=0,
        driver_exit_code=2,
        entrypoint=command,
    )
    cluster = SimpleNamespace(list_jobs=lambda: [job])
    monkeypatch.setattr(submit, "_cluster", lambda: nullcontext(cluster))

    submit.list_jobs()

    shown = capsys.readouterr().out
    assert "[red]a[/red]" in shown
    assert "python -m jobs.sweep x 'vary=[shuffle,init]' :smile: -o s3://bucket/x" in shown


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
        "soloist: the cluster does not respond: refused; job may still be running: soloist "
        "submit follow job\n"
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
        exit_on_error(submit.list_jobs)()

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
