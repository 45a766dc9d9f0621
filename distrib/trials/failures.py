"""The record of a failed trial."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from distrib.errors import TrialFailed
from distrib.scheduling.status import ERROR
from distrib.trials.remote_results import Results
from distrib.trials.results import trial_directory
from distrib.trials.trial import Trial
from recsys.credentials import redacted

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """A trial that ended without a result."""

    title: str
    trial: Trial
    reason: str
    """One line"""
    report: Path
    """The file that holds the reason and the traceback"""
    named: str
    """What a person calls that file"""


def write_failure(results: Results, title: str, trial: Trial, reason: str, text: str) -> Failure:
    """Write the reason and the traceback into the trial's directory.

    The result of the next attempt replaces it. If it cannot be uploaded or written (full disk),
    nothing else stops.
    """
    reason = redacted(reason)
    report = trial_directory(results.directory, trial) / ERROR
    named = f"{results}/{report.relative_to(results.directory).as_posix()}"
    try:
        report.parent.mkdir(parents=True, exist_ok=True)
        report.unlink(missing_ok=True)  # it may be a link to what is not ours
        report.write_text(f"{reason}\n\n{redacted(text)}")
        results.send_file(report)
    except OSError as error:
        _log.warning("%s: could not be written or sent (%s); locally: %s", named, error, report)
        named = str(report)
    return Failure(title=title, trial=trial, reason=reason, report=report, named=named)


def raise_for(failures: Sequence[Failure], trials: int) -> None:
    """Raise TrialFailed with one line for each failure, if there are any."""
    if failures:
        lines = (f"  {each.title}: {each.reason} ({each.named})" for each in failures)
        raise TrialFailed("\n".join([f"{len(failures)} of {trials} trials failed:", *lines]))
