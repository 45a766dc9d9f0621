"""The cost report of a sweep: the estimate before, the actual cost after."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table

from analysis.results.reading import Trials, read_sweep
from analysis.results.spending import (
    COUNTED,
    Prices,
    Spending,
    Spent,
    actual,
    read_spending,
    total,
    write_spending,
)
from distrib.scheduling.resources import run_probes
from distrib.scheduling.session import ray_session
from distrib.trials.grouping import Group
from jobs.command import say, terminal
from jobs.costs.estimates import UNKNOWN, estimate, measured_paces, probed_paces, to_probe
from recsys.data.click_log import ClickLog

#: More arms than so many are counted, not named.
_NAMED = 3
_HINT = " until a trial of each is done (--dry-run, or a price, measures a few batches first)"


def estimated(
    log: ClickLog, directory: Path, groups: Sequence[Group], prices: Prices, *, probe: bool = False
) -> tuple[Spent, ...]:
    """Return what training of groups will take, by what finished trials of a sweep took.

    With ``probe``, or where a price is known, shapes that none of them has are measured on a few
    batches on Ray, and how long that takes is said.
    """
    paces = measured_paces(directory, log)
    unknown = to_probe(groups, paces, prices, asked=probe)
    if unknown:
        with ray_session():
            started = time.monotonic()
            probes = run_probes(log, [group.trials for group in unknown.values()])
            seconds = time.monotonic() - started
        paces |= probed_paces(unknown, probes)
        shapes = "1 shape of arm" if len(unknown) == 1 else f"{len(unknown)} shapes of arms"
        say(f"A probe of {shapes} took {seconds:.0f} s and trained nothing that is kept.")
    return estimate(log, groups, paces, prices)


def settle(
    directory: Path, arms: Iterable[Trials], rows: Sequence[Spent], prices: Prices
) -> tuple[Spent, ...]:
    """Keep an estimate and what finished trials took in ``sweep_cost.json``; return the latter.

    Where nothing was left to estimate, the estimate of the last time is kept.
    """
    before = read_spending(directory)
    told = before.estimated if before is not None and not rows else tuple(rows)
    took = actual(arms, prices)
    write_spending(directory, Spending(prices=prices, estimated=told, actual=took))
    return took


def arms_of(directory: Path) -> list[Trials]:
    """Return the arms of a sweep's manifest, then its sources, called as the sweep calls them."""
    sweep = read_sweep(directory)
    name = sweep.baseline.name
    alone = [replace(each, name=f"{name} ({each.name} alone)") for each in sweep.sources]
    return [*sweep.arms, *alone]


def show(title: str, rows: Sequence[Spent], prices: Prices) -> None:
    """Print rows and their sum, and what is counted; money where any price is known."""
    money = (prices.currency or "money",) if prices.known else ()
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, title=title)
    table.add_column("arm")
    for heading in ("trials", "lookups", "core-hours", "GPU-hours", *money):
        table.add_column(heading, justify="right")
    table.add_column("known from")
    shown = [*rows, total(rows)]
    for row in shown:
        numbers = (
            row.lookups,
            row.core_hours,
            row.gpu_hours,
            *((row.money,) if prices.known else ()),
        )
        cells = (row.arm, f"{row.trials:,}", *map(_number, numbers), row.basis)
        table.add_row(*cells, style="bold" if row is shown[-1] else None)
    console = terminal()
    console.print(table)
    console.print(COUNTED)


def planned_words(rows: Sequence[Spent], prices: Prices) -> str:
    """Return the sum of an estimate in words, what it rests on, and how to know what is not."""
    hint = "" if prices.known else _HINT
    rests_on = "; ".join(dict.fromkeys(row.basis for row in rows if row.basis != UNKNOWN))
    line = f"to train: {_in_a_line(rows, prices, hint)}"
    return f"{line} ({rests_on})" if rests_on else line


def spent_words(rows: Sequence[Spent], prices: Prices) -> str:
    """Return the sum of what finished trials took in words."""
    return f"finished: {_in_a_line(rows, prices, '')}"


def _in_a_line(rows: Sequence[Spent], prices: Prices, hint: str) -> str:
    row = total(rows)
    unknown = [each.arm for each in rows if math.isnan(each.core_hours)]
    words = [f"{row.trials} trials", f"{_number(row.lookups)} lookups"]
    if unknown:
        words.append(f"hours{_of_arms(unknown, len(rows))} unknown{hint}")
    else:
        words.append(f"{_number(row.core_hours)} core-hours")
        if row.gpu_hours:
            words.append(f"{_number(row.gpu_hours)} GPU-hours")
    if not math.isnan(row.money):
        words.append(f"{_number(row.money)} {prices.currency}".strip())
    return ", ".join(words)


def _of_arms(unknown: Sequence[str], arms: int) -> str:
    """Return whose hours are not known: by name where that is no list to read through."""
    if len(unknown) == arms:
        return ""
    few = len(unknown) <= _NAMED
    return f" of {', '.join(unknown) if few else f'{len(unknown)} of {arms} arms'}"


def _number(value: float) -> str:
    if math.isnan(value):
        return "unknown"
    return f"{value:,.0f}" if value >= 1000 or value == 0 else f"{value:.3g}"
