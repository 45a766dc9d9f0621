"""Submits jobs to a cluster as a person does, in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from cluster.local.autoscaling import LocalCluster
from tests.support.shared import ROOT

PATIENCE_S = 240
"""For any one thing; it takes seconds where nobody else uses the machine."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A process's status, what it printed, and what it told beside that."""

    status: int
    lines: list[str]
    told: list[str]


def submitting(
    cluster: LocalCluster, *words: str | Path, directory: Path = ROOT
) -> subprocess.Popen[str]:
    """Start ``soloist submit`` in a directory."""
    return subprocess.Popen(
        [sys.executable, "-m", "jobs.cli", "submit", *map(str, words)],
        cwd=directory,
        env=os.environ | cluster.environment | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def submitted(cluster: LocalCluster, *words: str | Path, directory: Path = ROOT) -> Ended:
    """Run ``soloist submit`` to its end."""
    return ended(submitting(cluster, *words, directory=directory))


def ended(process: subprocess.Popen[str]) -> Ended:
    """Wait for a process to end."""
    try:
        out, err = process.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        pytest.fail("\n".join(process.communicate()))
    return Ended(status=process.returncode, lines=out.splitlines(), told=err.splitlines())


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition, or fail with what was waited for."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {PATIENCE_S} s: {what}")
        time.sleep(0.1)
