"""One thread a process, and one local Ray for all tests that need it."""

from __future__ import annotations

import os

# Before anything loads OpenMP or Ray: both read their settings once. Workers inherit them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import shutil
import tempfile
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[str]:
    """Start a local Ray of two CPUs for the session and return its address."""
    import ray

    # Not tmp_path: Ray's sockets lie below it, and a socket's path may have 107 bytes.
    directory = tempfile.mkdtemp(prefix="sol-")
    try:
        context = ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            _temp_dir=directory,
        )
        yield context.address_info["gcs_address"]
    finally:
        ray.shutdown()
        shutil.rmtree(directory, ignore_errors=True)
