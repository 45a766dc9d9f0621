"""Jobs as a shell would run them, to be stopped in the middle."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from distrib.engines import local
from distrib.errors import TrialFailed
from distrib.scheduling.resources import Probe, probe
from distrib.trials.failures import Failure, write_failure
from distrib.trials.grouping import Group
from distrib.trials.remote_results import Results
from distrib.trials.trial import Trial
from recsys.data.click_log import ClickLog
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


def train_here(
    log: ClickLog,
    directory: Path,
    groups: Sequence[Group],
    *,
    keep_weights: bool = False,
    uri: str | None = None,
    **_: object,
) -> list[Failure]:
    """Train groups in this process, in place of Ray; what diverges fails as it would there."""
    results = Results(directory=directory, uri=uri)
    failures = []
    for group in groups:
        try:
            trained = local.train(log, group.trials)
        except TrialFailed as error:
            failures += [
                write_failure(results, group.title, trial, str(error), "") for trial in group.trials
            ]
            continue
        for trial, result in zip(group.trials, trained, strict=True):
            results.write(trial, result, keep_weights=keep_weights)
            results.receive(trial)
    return failures


def probe_here(log: ClickLog, groups: Sequence[Sequence[Trial]]) -> list[Probe | str]:
    """Probe groups in this process, in place of Ray."""
    return [probe(log, trials) for trials in groups]
