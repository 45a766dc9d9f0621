"""Jobs as a shell would run them, to be stopped in the middle."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.shared import ROOT

PATIENCE_S = 300
"""For any one thing; it takes seconds where nobody else uses the machine."""


def finished(directory: Path) -> dict[str, int]:
    """Return the finished trials and when each was finished, in nanoseconds."""
    return {
        done.parent.name: done.stat().st_mtime_ns for done in directory.glob("trials/[!.]*/DONE")
    }


def started(job: str, experiment: str, directory: Path, *overrides: str) -> subprocess.Popen[str]:
    """Start a job as a shell would, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", f"jobs.{job}", experiment, *overrides, "--output", str(directory)],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for a condition; fail with what the process said if it ends or takes too long."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail("\n".join(process.communicate()))
        time.sleep(0.05)
