"""One thread a process, the same examples each time, one local Ray for all tests that need it."""

from __future__ import annotations

import os
import signal

# Who is started in a shell's background ignores SIGINT, and so would all that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Before anything loads OpenMP or Ray: both read their settings once. Workers inherit them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_metrics_report_interval_ms"] = "2000"  # noqa: SIM112 (Ray's own spelling)
# A process for each synchronous training, which looks for nodes that drain: here none does.
os.environ["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"] = "0"

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from tests.support.s3 import S3

# A machine may be busy: how long an example takes says nothing.
settings.register_profile(
    "steady", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("steady")


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[str]:
    """Start a local Ray of two CPUs for the session and return its address."""
    import ray

    from distrib.scheduling.session import ray_session

    with ray_session(cpus=2):
        yield ray.get_runtime_context().gcs_address


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    """Start a server that answers as S3 does, for the session."""
    from tests.support.s3 import s3_server

    with s3_server() as server:
        yield server
