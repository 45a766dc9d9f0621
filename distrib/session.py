"""The Ray that a job runs on: the cluster it was started in or pointed to, or one of its own."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import ray

_PROJECT = Path(__file__).resolve().parents[1]


@contextmanager
def ray_session() -> Iterator[None]:
    """Have a Ray inside the block.

    In this order: the one that is already there; the one that ``RAY_ADDRESS`` names (as it does
    under ``ray job submit``); a new one on this machine, reachable from this machine alone, which
    ends with the block.
    """
    if ray.is_initialized():
        yield
    elif os.environ.get("RAY_ADDRESS"):
        ray.init(runtime_env=_code(), log_to_driver=False)
        try:
            yield
        finally:
            ray.shutdown()
    else:
        with _own_ray():
            yield


@contextmanager
def _own_ray() -> Iterator[None]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Not the user's temporary directory: Ray's sockets lie below, whose paths may have 107 bytes.
    directory = tempfile.mkdtemp(prefix="soloist-", dir="/tmp")
    try:
        ray.init(
            address="local",
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _temp_dir=directory,
            _node_ip_address="127.0.0.1",
        )
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(directory, ignore_errors=True)


def _code() -> dict[str, Any]:
    """Return the runtime environment that brings this checkout to a cluster's workers.

    A job has its working directory from its submission; an installed Soloist has no checkout, and
    the cluster is expected to have it installed too.
    """
    submitted = "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ
    if submitted or not (_PROJECT / "pyproject.toml").exists():
        return {}
    return {"working_dir": str(_PROJECT)}


@contextmanager
def terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM, with which Ray stops a job, do what Ctrl-C does: raise KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread takes signals
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
