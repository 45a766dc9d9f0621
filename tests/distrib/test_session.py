"""The Ray that a job runs on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
import ray

from distrib.session import ray_session, terminated_like_interrupted
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
        "from distrib.session import ray_session\n"
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


def test_termination_interrupts_as_ctrl_c_does():
    with pytest.raises(KeyboardInterrupt), terminated_like_interrupted():
        os.kill(os.getpid(), signal.SIGTERM)


def test_after_it_termination_does_what_it_did_before():
    before = signal.getsignal(signal.SIGTERM)

    with terminated_like_interrupted():
        inside = signal.getsignal(signal.SIGTERM)

    assert inside is not before
    assert signal.getsignal(signal.SIGTERM) is before
