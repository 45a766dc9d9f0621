"""The Ray that a job runs on."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from distrib.scheduling.session import ray_session, terminated_like_interrupted
from recsys.errors import ConfigError
from tests.support.shared import ROOT


def test_a_ray_that_is_there_is_used_and_left_running(ray_cluster):
    with ray_session():
        inside = ray.get_runtime_context().gcs_address

    assert inside == ray_cluster
    assert ray.is_initialized()


def test_a_ray_of_ones_own_is_reached_from_this_machine_alone(ray_cluster):
    assert ray_cluster.startswith("127.0.0.1:")
    assert [node["NodeManagerAddress"] for node in ray.nodes()] == ["127.0.0.1"]


def test_a_cluster_that_is_pointed_to_gets_this_code(ray_cluster, tmp_path):
    program = (
        "import ray\n"
        "from distrib.scheduling.session import ray_session\n"
        "@ray.remote\n"
        "def where():\n"
        "    import recsys; return recsys.__file__\n"
        "with ray_session():\n"
        "    print(ray.get_runtime_context().gcs_address, ray.get(where.remote()))\n"
        "print(ray.is_initialized())"
    )

    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ | {"RAY_ADDRESS": ray_cluster, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )

    address, code, connected = ended.stdout.split()
    assert address == ray_cluster
    assert "runtime_resources" in code
    assert connected == "False"


@pytest.fixture
def alone(monkeypatch):
    """Have no Ray in this process, and no patience."""
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.shutdown", lambda: None)
    monkeypatch.setattr("distrib.scheduling.session._ANSWER_S", 0.5)


@pytest.fixture
def silent() -> Iterator[str]:
    """Return the address of a process that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nowhere.invalid:6379"])
def test_a_cluster_that_is_dead_is_refused_in_one_line(address, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", address)

    with pytest.raises(ConfigError) as refused, ray_session():
        pass

    assert str(refused.value) == (
        f"RAY_ADDRESS {address}: nothing answers within 0.5 s; expected the HOST:PORT of a running "
        "Ray cluster, auto, or local for a Ray of the job's own"
    )


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_what_is_no_cluster_is_refused(scheme, silent, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", scheme + silent)

    with pytest.raises(ConfigError, match=r"RAY_ADDRESS .*: nothing answers"), ray_session():
        pass


@pytest.mark.usefixtures("alone")
def test_auto_without_a_cluster_on_this_machine_is_refused(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.setattr("ray._private.services.find_gcs_addresses", set)
    monkeypatch.setattr("ray._private.services.find_bootstrap_address", lambda _: None)

    with pytest.raises(ConfigError, match="RAY_ADDRESS auto: Could not find any running Ray"):
        ray_session().__enter__()


@pytest.mark.usefixtures("alone")
def test_what_ray_says_of_a_cluster_becomes_one_line(ray_cluster, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("Version mismatch: the cluster has\nRay: 1.0")

    monkeypatch.setenv("RAY_ADDRESS", ray_cluster)
    monkeypatch.setattr("ray.init", refuse)

    with pytest.raises(ConfigError) as refused, ray_session():
        pass

    assert str(refused.value).startswith(
        f"RAY_ADDRESS {ray_cluster}: Version mismatch: the cluster has; expected"
    )


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("address", ["", "local"])
def test_a_ray_that_does_not_start_is_told_in_one_line(address, monkeypatch):
    made = []

    def time_out(**settings: object) -> None:
        made.append(Path(str(settings["_temp_dir"])))
        raise Exception("The current node timed out during startup.\nThis could happen because")

    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setattr("ray.init", time_out)

    with pytest.raises(ChildProcessError) as failed, ray_session():
        pass

    assert str(failed.value) == (
        "Ray did not start on this machine: The current node timed out during startup."
    )
    assert not made[0].exists()


def test_termination_interrupts_as_ctrl_c_does():
    with pytest.raises(KeyboardInterrupt), terminated_like_interrupted():
        os.kill(os.getpid(), signal.SIGTERM)


def test_after_it_termination_does_what_it_did_before():
    before = signal.getsignal(signal.SIGTERM)

    with terminated_like_interrupted():
        inside = signal.getsignal(signal.SIGTERM)

    assert inside is not before
    assert signal.getsignal(signal.SIGTERM) is before
