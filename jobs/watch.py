"""``soloist watch``: how far a running sweep is, read from its files; needs no Ray."""

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
from jobs.progress import ELSEWHERE_EVERY_S, StatusRecord, describe, duration, read_status

#: A driver tells every second; one that is silent for so long is busy or gone.
SILENT_S = 15.0
FAILURES_SHOWN = 5
_LONGEST_REASON = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far the trials of one row are; a waiting trial was handed to Ray and has not begun.

    ``share`` is that of the training which is done, a failed trial counting as none.
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
    """A trial that failed: the first line of what it left behind, and where below the sweep."""

    name: str
    reason: str
    report: Path


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the directory of a sweep tells at one moment."""

    sweep: SweepResults
    told: StatusRecord | None

    @cached_property
    def rows(self) -> tuple[tuple[str, Trials], ...]:
        """Every row of trials with the name that a person is shown."""
        arms = ((arm.name, arm) for arm in self.sweep.arms)
        sources = (
            (f"{self.sweep.baseline.name} ({trials.name} alone)", trials)
            for trials in self.sweep.sources
        )
        return (*arms, *sources)

    @cached_property
    def progress(self) -> tuple[Progress, ...]:
        """How far each row is."""
        running = self.told.status.running if self.told else ()
        return tuple(progress(name, trials, running) for name, trials in self.rows)

    @cached_property
    def failures(self) -> tuple[Failed, ...]:
        """What failed and has not been trained again since; a trial of two rows stands once."""
        finished = set(self.finished)
        found = {
            place: Failed(
                name=name,
                reason=_first_line(place / ERROR),
                report=(place / ERROR).relative_to(self.sweep.directory),
            )
            for name, trials in self.rows
            for place in trials.places
            if place not in finished and (place / ERROR).exists()
        }
        return tuple(found.values())

    @property
    def finished(self) -> tuple[Path, ...]:
        """The directories of the finished trials, from which the table is made."""
        return tuple(trial.directory for _, trials in self.rows for trial in trials.done)

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to wait for."""
        return self.told is None and all(each.done == each.planned for each in self.progress)


def watch(
    directory: Annotated[
        str,
        Argument(metavar="DIR", help="What `soloist sweep` writes, or is about to, or its URI."),
    ],
    once: Annotated[bool, Option("--once", help="Print what there is, once, and leave.")] = False,
    every: Annotated[
        float, Option("--every", metavar="SECONDS", min=0.1, help="How often to look.")
    ] = 1.0,
) -> None:
    """Show how far a sweep is: trials by arm, pace, time left, failures, and the table so far.

    Reads files alone, so it works from any machine that sees DIR. Leaves when all trials are
    finished, or on Ctrl-C, which does not touch the sweep; prints once where the output is no
    terminal. What lies at a URI is fetched as it comes, every five seconds at most.
    """
    console = terminal()
    with _looking_at(directory) as look:
        shown, _ = look()
        if not once and console.is_terminal:
            shown = _follow(look, console, max(every, look.least_s))
        console.print(shown)


@contextmanager
def _looking_at(place: str) -> Iterator[Look]:
    """Have what looks at a directory, or at what lies at a URI each time."""
    if "://" not in place:
        yield Look(Path(place))
        return
    from jobs.trial_lookup import (  # here: what reads a directory needs no PyTorch
        fetch_again,
        sweep_at,
    )

    with sweep_at(place, writes=False, wanted=_is_looked_at) as results:
        yield Look(
            results.directory,
            name=str(results),
            fetch=lambda: fetch_again(results, _is_looked_at),
            least_s=ELSEWHERE_EVERY_S,
        )


def _is_looked_at(name: str) -> bool:
    """Tell whether a file says how far a sweep is, or what it found: no picture, no weights."""
    return name.endswith((".json", ".parquet", ERROR))


def _follow(look: Look, console: Console, every: float) -> RenderableType:
    """Show what is seen until it is over or a person leaves; return what was seen last."""
    shown: RenderableType = ""
    try:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            while True:
                shown, is_over = look()
                live.update(shown, refresh=True)
                if is_over:
                    break
                time.sleep(every)
    except KeyboardInterrupt:
        pass  # the sweep goes on; to stop looking is no failure
    return shown


class Look:
    """Looks at a directory again and again; the table is made anew when a trial has finished.

    Args:
        directory: of a sweep.
        name: what a person calls it, if not by its path.
        fetch: brings the directory up to date; called before each look.
        least_s: so long at least should be between two looks.
    """

    def __init__(
        self,
        directory: Path,
        *,
        name: str = "",
        fetch: Callable[[], None] = lambda: None,
        least_s: float = 0.0,
    ) -> None:
        self.least_s = least_s
        self._directory = directory
        self._name = name or str(directory)
        self._fetch = fetch
        self._finished: tuple[Path, ...] | None = None
        self._table: RenderableType = Text("No trial is finished yet: there is no table.")

    def __call__(self) -> tuple[RenderableType, bool]:
        """Return what is to be shown, and whether nothing is left to wait for."""
        seen = self.seen()
        if seen is None:
            return Text(f"{self._name}: no sweep has begun here yet"), False
        if seen.finished != self._finished:
            self._finished = seen.finished
            if seen.finished:
                self._table = as_terminal(page(summarize(seen.sweep)))
        shown = Group(
            Text(headline(seen, now_s=time.time()), style="bold"),
            "",
            progress_table(seen.progress),
            *_failure_lines(seen.failures),
            "",
            self._table,
        )
        return shown, seen.is_over

    def seen(self) -> Seen | None:
        """Read the directory; None where no sweep has begun."""
        self._fetch()
        if not (self._directory / MANIFEST).exists():
            return None
        return Seen(sweep=read_sweep(self._directory), told=read_status(self._directory))


def progress(name: str, trials: Trials, running: Sequence[Running]) -> Progress:
    """Return how far a row is, from its finished and failed trials and from what runs."""
    done = {each.directory for each in trials.done}
    open_places = [place for place in trials.places if place not in done]
    shares = {
        digest: each.examples_done / max(each.examples, 1)
        for each in running
        for digest in each.trials
    }
    handed = [shares[place.name] for place in open_places if place.name in shares]
    failed = [
        place for place in open_places if place.name not in shares and (place / ERROR).exists()
    ]
    return Progress(
        name=name,
        planned=trials.planned,
        done=len(done),
        failed=len(failed),
        running=sum(share > 0 for share in handed),
        waiting=sum(share == 0 for share in handed),
        share=(len(done) + sum(handed)) / max(trials.planned, 1),
    )


def headline(seen: Seen, *, now_s: float) -> str:
    """Return in one line how far the sweep is as a whole."""
    name = seen.sweep.experiment
    if seen.told is None:
        done = sum(each.done for each in seen.progress)
        planned = sum(each.planned for each in seen.progress)
        state = "finished" if done == planned else "no driver reports here"
        return f"{name}: {done}/{planned} trials, {state}"
    line = f"{name}: {describe(seen.told.status, seen.told.elapsed_s)}"
    silent_s = now_s - seen.told.told_s
    if silent_s < SILENT_S:
        return line
    return (
        f"{line}; its driver has told nothing for {duration(silent_s)}: if it is gone, the same"
        " sweep command goes on"
    )


def progress_table(rows: Sequence[Progress]) -> Table:
    """Return a line with a bar for each row that is not finished, and one for the rest."""
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
    if not failures:
        return []
    lines = [Text("")]
    lines += [
        Text(f"{each.name}: {each.reason} ({each.report})", style="red")
        for each in failures[:FAILURES_SHOWN]
    ]
    if len(failures) > FAILURES_SHOWN:
        lines.append(Text(f"and {len(failures) - FAILURES_SHOWN} more failures", style="red"))
    return lines


def _first_line(path: Path) -> str:
    """Return a file's first line; empty where the next try has just taken the file's place."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.readline(_LONGEST_REASON).strip()
    except FileNotFoundError:
        return ""


if __name__ == "__main__":
    run(watch)
