"""Progress of a training: a bar on a terminal, plain lines elsewhere, and ``status.json``."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from analysis.atomic_files import write_whole
from analysis.results.files import read_json
from distrib.scheduling.runner import run_groups
from distrib.scheduling.session import ray_session, terminated_like_interrupted
from distrib.scheduling.stall_detection import STALL_S
from distrib.scheduling.status import Status
from distrib.trials.failures import Failure
from distrib.trials.folder import Folder
from distrib.trials.grouping import Group
from jobs.command import terminal
from recsys.data.click_log import ClickLog

_LINE_EVERY_S = 15.0


class Advance(Protocol):
    """What a display needs to know; ``distrib.scheduling.status.Status`` is one."""

    @property
    def trials_done(self) -> int: ...
    @property
    def trials_failed(self) -> int: ...
    @property
    def trials(self) -> int: ...
    @property
    def examples_done(self) -> int: ...
    @property
    def work_done(self) -> float: ...
    @property
    def work(self) -> int: ...


class Display:
    """Shows each status it is called with, on standard error."""

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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def __call__(self, status: Advance) -> None:
        """Show a status."""
        elapsed = time.monotonic() - self._started
        text = describe(status, elapsed)
        self._bar.update(
            self._task, description=text, total=status.work, completed=status.work_done
        )
        ended = status.trials_done + status.trials_failed
        due = elapsed - self._line_at >= _LINE_EVERY_S or ended == status.trials
        if not self._console.is_terminal and due and text != self._shown:
            self._console.print(text, soft_wrap=True)
            self._line_at, self._shown = elapsed, text


def describe(status: Advance, elapsed_s: float) -> str:
    """Return a status as text: trials, pace, time left at the pace until now."""
    words = [f"{status.trials_done}/{status.trials} trials"]
    if status.trials_failed:
        words.append(f"{status.trials_failed} failed")
    if status.examples_done:
        words.append(f"{status.examples_done / elapsed_s:,.0f} examples/s")
    if 0 < status.work_done < status.work:
        left = elapsed_s * (status.work - status.work_done) / status.work_done
        words.append(f"{duration(left)} left")
    return ", ".join(words)


def duration(seconds: float) -> str:
    """Return a time as minutes and seconds, with hours where it has any."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


STATUS = "status.json"
_EVERY_S = 1.0
#: An object store asks money for each time that it is told or asked.
ELSEWHERE_EVERY_S = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class StatusRecord:
    """A status, when its run began and when it was told: seconds of the Unix epoch."""

    began_s: float
    told_s: float
    status: Status

    @property
    def elapsed_s(self) -> float:
        return self.told_s - self.began_s


class StatusFile:
    """Keeps ``status.json`` up to date within the block; it is deleted when the run is over.

    A driver that dies leaves the file behind: its age tells. ``elsewhere`` is told too, less often.
    Where either cannot be, as on a full disk, nothing else is stopped for it.
    """

    def __init__(self, directory: Path, elsewhere: Folder | None = None) -> None:
        self._path = directory / STATUS
        self._elsewhere = elsewhere
        self._began_s = time.time()
        self._next_s = 0.0
        self._next_elsewhere_s = 0.0

    def __enter__(self) -> StatusFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(OSError):
            self._path.unlink()
        if self._elsewhere is not None:
            with suppress(OSError):
                self._elsewhere.delete(STATUS)

    def __call__(self, status: Status) -> None:
        """Write a status, at most once a second."""
        now = time.time()
        if now < self._next_s:
            return
        self._next_s = now + _EVERY_S
        told = StatusRecord(began_s=self._began_s, told_s=now, status=status)
        text = json.dumps(asdict(told)) + "\n"
        with suppress(OSError):
            write_whole(self._path, lambda file: file.write_text(text, encoding="utf-8"))
        if self._elsewhere is not None and now >= self._next_elsewhere_s:
            self._next_elsewhere_s = now + ELSEWHERE_EVERY_S
            with suppress(OSError):
                self._elsewhere.write(STATUS, text.encode())


def read_status(directory: Path) -> StatusRecord | None:
    """Return what the driver told last; None where none runs, and ended as it should.

    Raises:
        ResultsError: the file is damaged.
    """
    try:
        return read_json(directory / STATUS, StatusRecord)
    except FileNotFoundError:
        return None


def train_groups(
    log: ClickLog,
    directory: Path,
    groups: Sequence[Group],
    *,
    told_in: Path | None = None,
    keep_weights: bool = False,
    stall_s: float = STALL_S,
    uri: str | None = None,
) -> list[Failure]:
    """Train groups on Ray into ``directory``; no Ray is started where there is nothing to train.

    ``stall_s`` and ``uri`` as ``run_groups`` has them. ``told_in`` is where ``status.json`` goes,
    by default the same directory.

    Raises:
        KeyboardInterrupt: what was finished is kept.
    """
    if not groups:
        return []
    with (
        Display() as display,
        StatusFile(told_in or directory, _elsewhere(uri, directory, told_in)) as file,
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


def _elsewhere(uri: str | None, directory: Path, told_in: Path | None) -> Folder | None:
    """Return the folder at a URI that ``told_in`` mirrors."""
    if uri is None:
        return None
    return Folder(uri, "" if told_in is None else told_in.relative_to(directory).as_posix())
