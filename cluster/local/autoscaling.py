"""An autoscaling cluster on one machine: nodes start, crash and stop as processes.

Ray's fake multi-node provider, run as an external one because the wheel lacks its example file,
with a directory for each node. Everything listens on loopback only, requires a token, and is
stopped by process id.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from cluster.local.processes import Process, end_marked, marked

_PROJECT = Path(__file__).resolve().parents[2]
MARK = "SOLOIST_LOCAL_CLUSTER"
_HOST = "127.0.0.1"
_HEAD = "ray.head.default"  # the name that the fake provider gives it
_HEAD_ID = "f" * 51 + "00000"
_PORTS = range(20_000, 32_768)
"""Below those that Linux gives to whoever asks for any: it is a while until the head has them"""
_START_S = 60.0
_POLL_S = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeType:
    """A node type: its Ray resources, and the maximum number of nodes."""

    resources: Mapping[str, float]
    most: int


def node_types(*, cpus: float, most: int) -> dict[str, NodeType]:
    """Return the node types of the manifests: on-demand and spot.

    A trial that requests ``spot`` runs on the latter.
    """
    return {
        "worker": NodeType(resources={"CPU": cpus}, most=most),
        "spot": NodeType(resources={"CPU": cpus, "spot": cpus}, most=most),
    }


@dataclass(frozen=True, kw_only=True)
class LocalCluster:
    """A cluster with a head without CPUs, which starts and stops nodes on demand.

    Use it as a context manager, or ``start`` and ``stop`` it.
    """

    directory: Path
    port: int
    dashboard_port: int
    client_port: int
    idle_s: float
    """So long a node may have no work before it goes"""
    node_types: Mapping[str, NodeType]

    @classmethod
    def planned(cls, *, cpus: float = 1, most: int = 3, idle_s: float = 60) -> Self:
        """Return a cluster that is not started, with its own directory and ports."""
        # Ray's sockets lie below, whose paths may have 107 bytes.
        directory = Path(tempfile.mkdtemp(prefix="soloist-", dir="/tmp"))
        ports = dict(zip(("port", "dashboard_port", "client_port"), _free_ports(3), strict=True))
        kinds = node_types(cpus=cpus, most=most)
        return cls(directory=directory, idle_s=idle_s, node_types=kinds, **ports)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that a process needs to use the cluster."""
        return {
            "RAY_ADDRESS": f"{_HOST}:{self.port}",
            "RAY_API_SERVER_ADDRESS": f"http://{_HOST}:{self.dashboard_port}",
            # Not a machine that forms clusters with others: Ray then listens on loopback alone.
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.directory / "token"),
        }

    def start(self) -> None:
        """Start the head and wait until it responds.

        Raises:
            ChildProcessError: it exited or does not respond; has the end of its log.
        """
        (self.directory / "token").write_text(secrets.token_hex(32))
        config = self.directory / "autoscaling.json"
        config.write_text(json.dumps(self._autoscaling(), indent=2))
        log = self.directory / "head.log"
        with log.open("wb") as stream:
            head = subprocess.Popen(
                self._command(config),
                env=self._head_environment(),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_S
        while not (_answers(self.port) and _answers(self.dashboard_port)):
            if head.poll() is not None or time.monotonic() > deadline:
                last = log.read_text(errors="replace").strip().rpartition("\n")[2]
                raise ChildProcessError(f"the head of the cluster did not start: {last}")
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """Stop every process of the cluster and remove its directory."""
        end_marked(MARK, str(self.directory))
        shutil.rmtree(self.directory, ignore_errors=True)

    def processes(self) -> list[Process]:
        """Return all live processes of the cluster, including drivers and workers."""
        return marked(MARK, str(self.directory))

    def nodes(self) -> dict[str, Process]:
        """Return the raylets of the live nodes except the head's, by node name."""
        return {
            each.environment["RAY_CLOUD_INSTANCE_ID"]: each
            for each in self.processes()
            if each.environment.get("RAY_CLOUD_INSTANCE_ID", _HEAD_ID) != _HEAD_ID
            and Path(each.command.split(" ")[0]).name == "raylet"
        }

    def _command(self, config: Path) -> list[str]:
        return [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
            *("--num-cpus=0", f"--node-ip-address={_HOST}", f"--port={self.port}"),
            *("--include-dashboard=true", f"--dashboard-host={_HOST}"),
            f"--dashboard-port={self.dashboard_port}",
            *("--dashboard-agent-listen-port=0", f"--ray-client-server-port={self.client_port}"),
            *(f"--temp-dir={self.directory}", "--disable-usage-stats"),
            *("--object-store-memory=200000000", f"--autoscaling-config={config}"),
        ]

    def _head_environment(self) -> dict[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
            **self.environment,
            # Jobs begin with the word python: this one.
            "PATH": _joined(str(Path(sys.executable).parent), os.environ["PATH"]),
            # Ray's autoscaler imports the provider.
            "PYTHONPATH": _joined(str(_PROJECT), os.environ.get("PYTHONPATH", "")),
            MARK: str(self.directory),
            "RAY_FAKE_CLUSTER": "1",
            "RAY_enable_autoscaler_v2": "1",
            "AUTOSCALER_UPDATE_INTERVAL_S": "1",
            # A process that is gone is seen to be gone at once: five times, and its node is dead.
            "RAY_health_check_period_ms": "1000",
            "RAY_CLOUD_INSTANCE_ID": _HEAD_ID,
            "RAY_OVERRIDE_NODE_ID_FOR_TESTING": _HEAD_ID,
            "RAY_USAGE_STATS_ENABLED": "0",
        }

    def _autoscaling(self) -> dict[str, Any]:
        return {
            "cluster_name": "soloist-local",
            "max_workers": sum(each.most for each in self.node_types.values()),
            "idle_timeout_minutes": self.idle_s / 60,
            "upscaling_speed": 100,
            "provider": {
                "type": "external",
                "module": "cluster.local.provider.LocalNodeProvider",
                "gcs_address": f"{_HOST}:{self.port}",
                "head_node_id": _HEAD_ID,
                "use_node_id_as_ip": True,
                "disable_node_updaters": True,
                "disable_launch_config_check": True,
                "launch_multiple": True,
            },
            "auth": {},
            "file_mounts": {},
            "cluster_synced_files": [],
            "file_mounts_sync_continuously": False,
            # Nothing is set up on a node of this machine; Ray wants to be told so.
            **{
                f"{what}_commands": []
                for what in (
                    "initialization",
                    "setup",
                    "head_setup",
                    "worker_setup",
                    "head_start_ray",
                    "worker_start_ray",
                )
            },
            "head_node_type": _HEAD,
            "available_node_types": {
                _HEAD: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
                **{
                    name: {
                        "resources": dict(kind.resources),
                        "node_config": {},
                        "min_workers": 0,
                        "max_workers": kind.most,
                    }
                    for name, kind in self.node_types.items()
                },
            },
        }


def _joined(first: str, rest: str) -> str:
    return os.pathsep.join([first, rest] if rest else [first])


def _free_ports(count: int) -> Sequence[int]:
    """Return free ports outside the ephemeral range."""
    held: dict[int, socket.socket] = {}
    for port in random.SystemRandom().sample(_PORTS, len(_PORTS)):
        with suppress(OSError):
            held[port] = socket.create_server((_HOST, port))
        if len(held) == count:
            break
    for each in held.values():
        each.close()
    return list(held)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((_HOST, port)) == 0
