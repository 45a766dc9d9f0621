"""Progress of trainings: a bar on a terminal, plain lines elsewhere, and ``status.json``."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from analysis.results.files import read_json
from analysis.results.reading import SweepResults, Trials
from distrib.scheduling.status import Status
from distrib.trials.folder import Folder
from jobs.command import terminal, write_text

if TYPE_CHECKING:  # not at runtime: these load PyTorch
    from distrib.trials.failures import Failure
    from distrib.trials.grouping import Group
    from recsys.data.click_log import ClickLog

STATUS = "status.json"
REMOTE_INTERVAL_S = 5.0
"""Object stores charge for each request."""
_INTERVAL_S = 1.0
_LINE_INTERVAL_S = 15.0


class Display:
    """Shows each status that it is called with on standard error."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or terminal(stderr=True)
        self._started = time.monotonic()
        self._line_at = 0.0
        self._shown = ""
        self._bar = Progress(
            SpinnerColumn(),
            BarColumn(),
            TextColumn("{task.description}", markup=False),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=None)

    def __enter__(self) -> Display:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, status: Status) -> None:
        """Show a status."""
        elapsed = time.monotonic() - self._started
        text = describe(status, elapsed)
        self._bar.update(
            self._task, description=text, total=status.work, completed=status.work_done
        )
        ended = status.trials_done + status.trials_failed
        due = elapsed - self._line_at >= _LINE_INTERVAL_S or ended == status.trials
        if not self._console.is_terminal and due and text != self._shown:
            self._console.print(text, soft_wrap=True)
            self._line_at, self._shown = elapsed, text


def describe(status: Status, elapsed_s: float) -> str:
    """Return a status as text: trials, speed, and the time left at this speed."""
    parts = [f"{status.trials_done}/{status.trials} trials"]
    if status.trials_failed:
        parts.append(f"{status.trials_failed} failed")
    if status.examples_done:
        parts.append(f"{status.examples_done / elapsed_s:,.0f} examples/s")
    if 0 < status.work_done < status.work:
        left = elapsed_s * (status.work - status.work_done) / status.work_done
        parts.append(f"{duration(left)} left")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Return a time as ``m:ss``, or ``h:mm:ss`` from one hour."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


@dataclass(frozen=True, kw_only=True, slots=True)
class StatusRecord:
    """A status with the times at which its run began and it was written, as Unix time."""

    began_s: float
    told_s: float
    status: Status

    @property
    def elapsed_s(self) -> float:
        return self.told_s - self.began_s


class StatusFile:
    """Keeps ``status.json`` up to date within the block, and deletes it at the end.

    The file of a driver that crashed remains: it stops being updated. ``remote`` gets a copy less
    often. A failure to write, as on a full disk, stops nothing else.
    """

    def __init__(self, directory: Path, remote: Folder | None = None) -> None:
        self._path = directory / STATUS
        self._remote = remote
        self._began_s = time.time()
        self._next_s = 0.0
        self._next_remote_s = 0.0

    def __enter__(self) -> StatusFile:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._path.unlink()
        if self._remote is not None:
            with suppress(OSError):
                self._remote.delete(STATUS)

    def __call__(self, status: Status) -> None:
        """Write a status, at most once a second."""
        now = time.time()
        if now < self._next_s:
            return
        self._next_s = now + _INTERVAL_S
        record = StatusRecord(began_s=self._began_s, told_s=now, status=status)
        text = json.dumps(asdict(record)) + "\n"
        with suppress(OSError):
            write_text(self._path, text)
        if self._remote is not None and now >= self._next_remote_s:
            self._next_remote_s = now + REMOTE_INTERVAL_S
            with suppress(OSError):
                self._remote.write(STATUS, text.encode())


def read_status(directory: Path) -> StatusRecord | None:
    """Return the last status of a run; None if no driver runs and the last one ended normally.

    Raises ResultsError if the file is damaged.
    """
    try:
        return read_json(directory / STATUS, StatusRecord)
    except FileNotFoundError:
        return None


def sweep_rows(sweep: SweepResults) -> list[Trials]:
    """Return the arms of a sweep, then the baseline for each source alone, named by their title."""
    baseline = sweep.baseline.name
    alone = (replace(each, name=f"{baseline} ({each.name} alone)") for each in sweep.sources)
    return [*sweep.arms, *alone]


def train_groups(
    log: ClickLog,
    directory: Path,
    groups: Sequence[Group],
    *,
    stall_s: float,
    status_directory: Path | None = None,
    keep_weights: bool = False,
    uri: str | None = None,
) -> list[Failure]:
    """Train groups on Ray into ``directory``; does not start Ray if there are none.

    ``keep_weights``, ``stall_s`` and ``uri`` are those of ``run_groups``. ``status.json`` goes to
    ``status_directory``, by default ``directory``, and to the same folder of ``uri``. A
    KeyboardInterrupt keeps finished trials.
    """
    # Here: reading the progress of a sweep needs neither Ray nor PyTorch.
    from distrib.scheduling.runner import run_groups
    from distrib.scheduling.session import ray_session, terminated_like_interrupted

    if not groups:
        return []
    status_directory = status_directory or directory
    below = status_directory.relative_to(directory).as_posix()
    remote = None if uri is None else Folder(uri, "" if below == "." else below)
    with (
        Display() as display,
        StatusFile(status_directory, remote) as file,
        ray_session(),
        terminated_like_interrupted(),
    ):

        def observe(status: Status) -> None:
            display(status)
            file(status)

        return run_groups(
            log,
            directory,
            groups,
            observe=observe,
            keep_weights=keep_weights,
            stall_s=stall_s,
            uri=uri,
        )
