"""``python -m cluster.local``: an autoscaling cluster on this machine, for trials."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from cluster.local.autoscaling import LocalCluster, NodeType
from jobs.command import STYLE, exit_on_error
from recsys.errors import ConfigError

Workers = Annotated[int, Option("--workers", min=1, help="Most nodes of a kind.")]
Cpus = Annotated[float, Option("--cpus", min=1, help="CPUs that Ray counts on each node.")]
Idle = Annotated[float, Option("--idle", min=1, help="Seconds after which an idle node stops.")]


def up(workers: Workers = 3, cpus: Cpus = 1, idle: Idle = 60) -> None:
    """Start a cluster without nodes; print the environment variables to use it."""
    if _note().exists():
        raise ConfigError(
            "a cluster is running already; stop it with: python -m cluster.local down"
        )
    cluster = _started(workers, cpus, idle)
    _note().parent.mkdir(parents=True, exist_ok=True)
    _note().write_text(json.dumps(asdict(cluster), default=str))
    for name, value in cluster.environment.items():
        print(f"export {name}={shlex.quote(value)}")


def run(
    command: Annotated[list[str], Argument(metavar="COMMAND...", help="What to run, after --.")],
    workers: Workers = 3,
    cpus: Cpus = 1,
    idle: Idle = 60,
) -> None:
    """Run a command on the running cluster, or on a temporary one."""
    cluster = _noted()
    if cluster is not None:
        raise SystemExit(_run(command, cluster))
    cluster = _started(workers, cpus, idle)
    try:
        status = _run(command, cluster)
    finally:
        cluster.stop()
    raise SystemExit(status)


def down() -> None:
    """Stop the running cluster with all its processes."""
    cluster = _noted()
    if cluster is None:
        raise ConfigError("no cluster is running; start one with: python -m cluster.local up")
    cluster.stop()
    _note().unlink()


def _started(workers: int, cpus: float, idle_s: float) -> LocalCluster:
    cluster = LocalCluster.planned(cpus=cpus, most=workers, idle_s=idle_s)
    try:
        cluster.start()
    except BaseException:
        cluster.stop()
        raise
    return cluster


def _run(command: list[str], cluster: LocalCluster) -> int:
    return subprocess.run(command, env=os.environ | cluster.environment, check=False).returncode


def _noted() -> LocalCluster | None:
    if not _note().exists():
        return None
    fields = json.loads(_note().read_text())
    kinds = {name: NodeType(**kind) for name, kind in fields.pop("node_types").items()}
    return LocalCluster(directory=Path(fields.pop("directory")), node_types=kinds, **fields)


def _note() -> Path:
    """Return the file that describes the running cluster."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache, "soloist", "local-cluster.json")


if __name__ == "__main__":
    app = typer.Typer(help=__doc__, no_args_is_help=True, **STYLE)
    for each in (up, run, down):
        app.command()(exit_on_error(each))
    app()
