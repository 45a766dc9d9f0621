"""How far a training is, for a person: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from jobs.command import terminal

_LINE_EVERY_S = 15.0


class Advance(Protocol):
    """What a display needs to know; ``distrib.status.Status`` is one."""

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
    """Return a status in words: trials, pace, time left at the pace until now."""
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
