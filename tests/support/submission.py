"""Submits jobs to a cluster as a person does, in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.local.autoscaling import LocalCluster
from tests.support.shared import ROOT

PATIENCE_S = 240
"""For any one thing; it takes seconds where nobody else uses the machine."""


def submitting(
    cluster: LocalCluster, *words: str | Path, directory: Path = ROOT
) -> subprocess.Popen[str]:
    """Start ``soloist submit`` in a directory."""
    return subprocess.Popen(
        [sys.executable, "-m", "jobs.cli", "submit", *map(str, words)],
        cwd=directory,
        env=os.environ | cluster.environment | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def submitted(
    cluster: LocalCluster, *words: str | Path, directory: Path = ROOT
) -> tuple[int, list[str]]:
    """Run ``soloist submit`` to its end; return its status and the lines that it printed."""
    return ended(submitting(cluster, *words, directory=directory))


def ended(process: subprocess.Popen[str]) -> tuple[int, list[str]]:
    """Wait for a process; return its status and the lines that it printed."""
    try:
        said, _ = process.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        pytest.fail(process.communicate()[0])
    return process.returncode, said.splitlines()


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition, or fail with what was waited for."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {PATIENCE_S} s: {what}")
        time.sleep(0.1)
