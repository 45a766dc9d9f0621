"""``soloist watch``: the progress of a running sweep, read from its files without Ray."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from typer import Argument, Option

from analysis.results.reading import MANIFEST, SweepResults, Trials, read_sweep
from analysis.results.summary import summarize
from analysis.results.tables import as_terminal, page
from distrib.scheduling.status import ERROR, Running
from jobs.command import run, terminal
from jobs.progress import (
    REMOTE_INTERVAL_S,
    StatusRecord,
    describe,
    duration,
    read_status,
    sweep_rows,
)

SILENT_S = 15.0
"""A driver writes its status every second."""
FAILURES_SHOWN = 5
_LONGEST_REASON = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """The progress of the trials of one row; ``waiting`` trials are scheduled and have not begun.

    ``share`` is the finished share of all training, with a failed trial counted as 0.
    """

    name: str
    planned: int
    done: int
    failed: int
    running: int
    waiting: int
    share: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """A failed trial: the first line of its report, and the report's path in the sweep."""

    name: str
    reason: str
    report: Path


@dataclass(frozen=True, kw_only=True)
class SweepState:
    """The state of a sweep's directory at one moment; ``status`` is None if no driver runs."""

    sweep: SweepResults
    status: StatusRecord | None

    @cached_property
    def rows(self) -> list[Trials]:
        """All rows of trials."""
        return sweep_rows(self.sweep)

    @cached_property
    def progress(self) -> tuple[Progress, ...]:
        """The progress of each row."""
        running = self.status.status.running if self.status else ()
        return tuple(progress(trials, running) for trials in self.rows)

    @cached_property
    def failures(self) -> tuple[Failed, ...]:
        """Failed trials that have no result yet; a trial of two rows is listed once."""
        finished = set(self.finished)
        found = {
            place: Failed(
                name=trials.name,
                reason=_first_line(place / ERROR),
                report=(place / ERROR).relative_to(self.sweep.directory),
            )
            for trials in self.rows
            for place in trials.places
            if place not in finished and (place / ERROR).exists()
        }
        return tuple(found.values())

    @property
    def finished(self) -> tuple[Path, ...]:
        """The directories of the finished trials."""
        return tuple(trial.directory for trials in self.rows for trial in trials.done)

    @property
    def is_over(self) -> bool:
        """Whether all trials are finished and no driver runs."""
        return self.status is None and all(each.done == each.planned for each in self.progress)


def watch(
    directory: Annotated[
        str,
        Argument(
            metavar="DIR", help="Directory or URI of a sweep or search, which may not exist yet."
        ),
    ],
    once: Annotated[bool, Option("--once", help="Print the current state and exit.")] = False,
    every: Annotated[
        float, Option("--every", metavar="SECONDS", min=0.1, help="Refresh interval.")
    ] = 1.0,
) -> None:
    """Show the progress of a sweep: trials by arm, speed, time left, failures and the table so far.

    Only reads files, so it works on any machine that can read DIR. Exits when all trials are
    finished, or on Ctrl-C, which does not stop the sweep. Prints once if the output is not a
    terminal. Results at a URI are fetched at most every five seconds.
    """
    console = terminal()
    with _viewing(directory) as view:
        shown, _ = view()
        if not once and console.is_terminal:
            shown = _follow(view, console, max(every, view.min_interval_s))
        console.print(shown)


@contextmanager
def _viewing(place: str) -> Iterator[SweepView]:
    """Yield the view of a directory, or of a URI whose files are fetched before each refresh."""
    if "://" not in place:
        yield SweepView(Path(place))
        return
    from jobs.trial_lookup import (  # here: reading a directory needs no PyTorch
        fetch_again,
        sweep_at,
    )

    with sweep_at(place, writes=False, wanted=_is_shown) as results:
        yield SweepView(
            results.directory,
            name=str(results),
            fetch=lambda: fetch_again(results, _is_shown),
            min_interval_s=REMOTE_INTERVAL_S,
        )


def _is_shown(name: str) -> bool:
    """Return whether a view reads this file; figures and weights are not fetched."""
    return name.endswith((".json", ".parquet", ERROR))


def _follow(view: SweepView, console: Console, every: float) -> RenderableType:
    """Refresh until the sweep is over or the user interrupts; return what was shown last."""
    shown: RenderableType = ""
    try:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            while True:
                shown, is_over = view()
                live.update(shown, refresh=True)
                if is_over:
                    break
                time.sleep(every)
    except KeyboardInterrupt:
        pass  # the sweep continues, so this is not a failure
    return shown


class SweepView:
    """Renders the state of a sweep; makes the table again only when a trial has finished.

    Args:
        directory: of a sweep.
        name: of the sweep in output, by default the path.
        fetch: updates the directory; called before each reading.
        min_interval_s: the least time between two readings.
    """

    def __init__(
        self,
        directory: Path,
        *,
        name: str = "",
        fetch: Callable[[], None] = lambda: None,
        min_interval_s: float = 0.0,
    ) -> None:
        self.min_interval_s = min_interval_s
        self._directory = directory
        self._name = name or str(directory)
        self._fetch = fetch
        self._finished: tuple[Path, ...] | None = None
        self._table: RenderableType = Text("No trial is finished yet: there is no table.")

    def __call__(self) -> tuple[RenderableType, bool]:
        """Return what to show, and whether the sweep is over."""
        state = self.state()
        if state is None:
            return Text(f"{self._name}: no sweep has begun here yet"), False
        if state.finished != self._finished:
            self._finished = state.finished
            if state.finished:
                self._table = as_terminal(page(summarize(state.sweep)))
        shown = Group(
            Text(headline(state, now_s=time.time()), style="bold"),
            "",
            progress_table(state.progress),
            *_failure_lines(state.failures),
            "",
            self._table,
        )
        return shown, state.is_over

    def state(self) -> SweepState | None:
        """Read the directory; None if no sweep has begun."""
        self._fetch()
        if not (self._directory / MANIFEST).exists():
            return None
        return SweepState(sweep=read_sweep(self._directory), status=read_status(self._directory))


def progress(trials: Trials, running: Sequence[Running]) -> Progress:
    """Return the progress of a row from its finished, failed and running trials."""
    done = {each.directory for each in trials.done}
    open_places = [place for place in trials.places if place not in done]
    shares = {
        digest: each.examples_done / max(each.examples, 1)
        for each in running
        for digest in each.trials
    }
    scheduled = [shares[place.name] for place in open_places if place.name in shares]
    failed = [
        place for place in open_places if place.name not in shares and (place / ERROR).exists()
    ]
    return Progress(
        name=trials.name,
        planned=trials.planned,
        done=len(done),
        failed=len(failed),
        running=sum(share > 0 for share in scheduled),
        waiting=sum(share == 0 for share in scheduled),
        share=(len(done) + sum(scheduled)) / max(trials.planned, 1),
    )


def headline(state: SweepState, *, now_s: float) -> str:
    """Return the progress of the whole sweep in one line."""
    name, record = state.sweep.experiment, state.status
    if record is None:
        done = sum(each.done for each in state.progress)
        planned = sum(each.planned for each in state.progress)
        state_name = "finished" if done == planned else "no driver reports here"
        return f"{name}: {done}/{planned} trials, {state_name}"
    line = f"{name}: {describe(record.status, record.elapsed_s)}"
    silent_s = now_s - record.told_s
    if silent_s < SILENT_S:
        return line
    return (
        f"{line}; no heartbeat from its driver for {duration(silent_s)}: if it crashed, run the "
        "same command to continue"
    )


def progress_table(rows: Sequence[Progress]) -> Table:
    """Return a row with a bar for each unfinished arm, and one for all finished arms."""
    table = Table("arm", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in ("done", "failed", "running", "waiting"):
        table.add_column(column, justify="right")
    table.add_column("", width=24)
    finished = [row for row in rows if row.done == row.planned]
    for row in (row for row in rows if row not in finished):
        table.add_row(
            row.name,
            f"{row.done}/{row.planned}",
            Text(str(row.failed or ""), style="red"),
            str(row.running or ""),
            str(row.waiting or ""),
            ProgressBar(total=1.0, completed=row.share, width=24),
        )
    if finished:
        trials = sum(row.done for row in finished)
        table.add_row(Text(f"{len(finished)} finished", style="dim"), f"{trials}/{trials}")
    return table


def _failure_lines(failures: Sequence[Failed]) -> list[Text]:
    lines = [f"{each.name}: {each.reason} ({each.report})" for each in failures[:FAILURES_SHOWN]]
    if len(failures) > FAILURES_SHOWN:
        lines.append(f"and {len(failures) - FAILURES_SHOWN} more failures")
    return [Text(line, style="red") for line in ["", *lines] if failures]


def _first_line(path: Path) -> str:
    """Return a file's first line; empty if a retry has just deleted it."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.readline(_LONGEST_REASON).strip()
    except FileNotFoundError:
        return ""


if __name__ == "__main__":
    run(watch)
