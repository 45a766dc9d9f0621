"""The Ray session of a job: an existing cluster, or a local one."""

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
from ray._private import ray_constants, services

import recsys
from recsys.errors import ConfigError

_PROJECT = Path(recsys.__file__).resolve().parents[1]
_ANSWER_S = 20.0
"""How long a cluster has to accept a connection: Ray itself would wait for minutes, or forever"""


@contextmanager
def ray_session(cpus: int | None = None) -> Iterator[None]:
    """Provide a Ray session inside the block.

    In this order: the current one; the one at ``RAY_ADDRESS`` (set by ``ray job submit``); a new
    local one, on loopback only, which ends with the block and has ``cpus`` CPUs (default: all).

    Raises:
        ConfigError: no cluster responds at ``RAY_ADDRESS``.
        ChildProcessError: Ray does not start on this machine.
    """
    address = os.environ.get("RAY_ADDRESS") or "local"
    if ray.is_initialized():
        yield
    elif address == "local":
        with _own_ray(cpus):
            yield
    else:
        reached = responding_address(address)
        try:
            try:
                ray.init(reached, runtime_env=_code(), log_to_driver=False)
            except Exception as error:  # Ray raises any kind
                raise _unreachable(address, error) from None
            yield
        finally:
            ray.shutdown()


def responding_address(address: str) -> str:
    """Return the address of the cluster that a ``RAY_ADDRESS`` names, once it responds.

    It is HOST:PORT, ``ray://HOST:PORT``, or ``auto`` for this machine's cluster.

    Raises:
        ConfigError: the address is invalid, or no cluster responds.
    """
    import grpc  # here: a job with a Ray of its own needs none of it
    from ray._private.grpc_utils import init_grpc_channel

    try:
        found = services.canonicalize_bootstrap_address(address) if address == "auto" else address
        channel = init_grpc_channel(str(found).removeprefix("ray://"))
        try:
            grpc.channel_ready_future(channel).result(timeout=_ANSWER_S)
        finally:
            channel.close()
    except grpc.FutureTimeoutError:
        raise _unreachable(address, f"nothing answers within {_ANSWER_S:g} s") from None
    except Exception as error:  # Ray raises any kind
        raise _unreachable(address, error) from None
    return str(found)


def _unreachable(address: str, why: object) -> ConfigError:
    first = (str(why).strip() or type(why).__name__).splitlines()[0]
    return ConfigError(
        f"RAY_ADDRESS {address}: {first}; expected the HOST:PORT of a running Ray cluster, "
        "auto, or local for a Ray of the job's own"
    )


@contextmanager
def _own_ray(cpus: int | None) -> Iterator[None]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Not the user's temporary directory: Ray's sockets lie below, whose paths may have 107 bytes.
    directory = tempfile.mkdtemp(prefix="soloist-", dir="/tmp")
    try:
        with _loopback_alone():
            try:
                ray.init(
                    address="local",
                    num_cpus=cpus,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    _temp_dir=directory,
                )
            except Exception as error:  # Ray raises any kind
                first = (str(error).strip() or type(error).__name__).splitlines()[0]
                raise ChildProcessError(f"Ray did not start on this machine: {first}") from None
            yield
    finally:
        ray.shutdown()
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _loopback_alone() -> Iterator[None]:
    """Make Ray listen on loopback only.

    Ray listens on all interfaces unless the machine forms no clusters. It reads that from the
    environment at import: of this process now, and of the processes that it starts.
    """
    variable = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR
    environment, constant = os.environ.get(variable), ray_constants.ENABLE_RAY_CLUSTER
    os.environ[variable], ray_constants.ENABLE_RAY_CLUSTER = "0", False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = constant
        if environment is None:
            del os.environ[variable]
        else:
            os.environ[variable] = environment


def _code() -> dict[str, Any]:
    """Return the runtime environment that uploads this checkout for a cluster's workers.

    A job has its submitted working directory. An installed Soloist has no checkout; then the
    cluster must have it installed too.
    """
    submitted = "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ
    if submitted or not (_PROJECT / "pyproject.toml").exists():
        return {}
    return {"working_dir": str(_PROJECT)}


@contextmanager
def terminated_like_interrupted() -> Iterator[None]:
    """Raise KeyboardInterrupt on SIGTERM, with which Ray stops a job."""
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
