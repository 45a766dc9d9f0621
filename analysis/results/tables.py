"""The trade-off table for terminal, Markdown and LaTeX."""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from analysis import text
from analysis.results.phrases import difference_words, ratio_words
from analysis.results.summary import ArmSummary, Measured, SourceSummary, Summary
from analysis.statistics.intervals import FEWEST_REPLICAS, Comparison, Interval

#: The source of irreproducibility that is rounding alone.
ARITHMETIC = "arithmetic"


class Verdict(StrEnum):
    """Result of a comparison with the baseline; lower is better."""

    NONE = ""
    BETTER = "green"
    WORSE = "red"
    OPEN = "dim"


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """A text, and the verdict that determines its colour."""

    text: str
    verdict: Verdict = Verdict.NONE


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """The displayed table: cells by row, the baseline's row, and the notes."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    baseline: int
    notes: tuple[str, ...]


def page(summary: Summary) -> Page:
    """Select and format the displayed columns; the files have all of them."""
    sweep = summary.sweep
    names = [each.arm.name for each in summary.arms]
    ranked = any(not math.isnan(each.measured.ranking_loss.value) for each in summary.arms)
    return Page(
        title=f"{sweep.experiment}: accuracy, prediction difference and cost",
        headings=(
            "arm",
            "log loss",
            "− baseline",
            "ranking loss" if ranked else "AUC",
            "relative PD",
            "÷ baseline",
            "lookups",
        ),
        rows=tuple(
            _row(each, is_baseline=each.arm is sweep.baseline, ranked=ranked)
            for each in summary.arms
        ),
        baseline=names.index(sweep.baseline.name),
        notes=tuple(_notes(summary)),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class TerminalPage:
    """The table for rich; on a narrow terminal, comparisons go below the values.

    If that is not enough, columns are dropped. Numbers are never cut; names may wrap.
    """

    shown: Page

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the widest table that fits, and the notes."""
        layouts = (_ALL, _STACKED, _FEWEST)
        tables = [_terminal_table(self.shown, layout) for layout in layouts]
        unlimited = options.update(max_width=sys.maxsize)
        fitting = (
            each
            for each in tables
            if Measurement.get(console, unlimited, each).maximum <= options.max_width
        )
        yield next(fitting, tables[-1])
        yield from (Text(note) for note in self.shown.notes)


#: Indices of the headings of each column of a table: of several, one is shown below the other.
_ALL = ((0,), (1,), (2,), (3,), (4,), (5,), (6,))
_STACKED = ((0,), (1, 2), (3,), (4, 5), (6,))
_FEWEST = ((0,), (1, 2), (4, 5), (6,))


def as_terminal(shown: Page) -> TerminalPage:
    """Return the page for rich, at most about 120 columns wide."""
    return TerminalPage(shown=shown)


def _terminal_table(shown: Page, columns: Sequence[tuple[int, ...]]) -> Table:
    table = Table(
        title=shown.title,
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
    )
    for column in columns:
        is_name = column == (0,)
        table.add_column(
            "\n".join(shown.headings[each] for each in column),
            justify="left" if is_name else "right",
            overflow="fold",
            no_wrap=not is_name,
        )
    for number, row in enumerate(shown.rows):
        cells = [
            Text("\n").join(Text(row[each].text, style=str(row[each].verdict)) for each in column)
            for column in columns
        ]
        table.add_row(*cells, style="bold" if number == shown.baseline else None)
    return table


def as_markdown(shown: Page) -> str:
    """Return the page in Markdown."""
    lines = [
        f"# {text.as_markdown(shown.title)}",
        "",
        _markdown_row(shown.headings),
        _markdown_row(["---"] + ["---:"] * (len(shown.headings) - 1)),
    ]
    for number, row in enumerate(shown.rows):
        cells = [text.as_markdown(cell.text) for cell in row]
        lines.append(
            _markdown_row([f"**{cell}**" if number == shown.baseline else cell for cell in cells])
        )
    return "\n".join([*lines, "", *(f"- {text.as_markdown(note)}" for note in shown.notes), ""])


def as_latex(shown: Page) -> str:
    """Return the page as a LaTeX table; it needs the package booktabs."""
    rows = [" & ".join(text.as_latex(cell.text) for cell in row) + r" \\" for row in shown.rows]
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{text.as_latex(shown.title)}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(shown.headings) - 1)}}}",
            r"\toprule",
            " & ".join(text.as_latex(heading) for heading in shown.headings) + r" \\",
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            "",
            *(f"{text.as_latex(note)}\n" for note in shown.notes),
            r"\end{table}",
            "",
        ]
    )


def plus_minus(interval: Interval, digits: int = 4) -> str:
    """Return a value with the half width of its interval (the wider side if clipped)."""
    if math.isnan(interval.value):
        return "NaN"
    half = max(interval.high - interval.value, interval.value - interval.low)
    return f"{interval.value:.{digits}f}±{_or_unknown(half, digits)}"


def bracketed(interval: Interval, digits: int = 2) -> str:
    """Return a value with the bounds of its interval."""
    if math.isnan(interval.value):
        return "NaN"
    return f"{interval.value:.{digits}f} {bounds(interval, digits)}"


def bounds(interval: Interval, digits: int) -> str:
    """Return the bounds of an interval."""
    low, high = (_or_unknown(bound, digits) for bound in (interval.low, interval.high))
    return f"[{low}, {high}]"


def percent(interval: Interval, digits: int = 1) -> str:
    """Return a share and its bounds in percent."""
    if math.isnan(interval.value):
        return "NaN"
    low, high = (_or_unknown(100 * bound, digits) for bound in (interval.low, interval.high))
    return f"{100 * interval.value:.{digits}f}% [{low}, {high}]"


def _or_unknown(bound: float, digits: int) -> str:
    return "?" if math.isnan(bound) else f"{bound:.{digits}f}"


def _row(summary: ArmSummary, *, is_baseline: bool, ranked: bool) -> tuple[Cell, ...]:
    """Return an arm's cells; without groups (``ranked``), the AUC of all examples."""
    measured, counted, versus = summary.measured, summary.counted, summary.versus_baseline
    if is_baseline:
        log_loss = relative_pd = Cell(text="baseline")
    else:
        log_loss = Cell(
            text=_signed(versus.log_loss.interval), verdict=verdict_of(versus.log_loss, none=0.0)
        )
        relative_pd = Cell(
            text=bracketed(versus.relative_pd.interval),
            verdict=verdict_of(versus.relative_pd, none=1.0),
        )
    lookups = f"{counted.train_lookups:.3g}/{counted.serve_lookups:.3g}"
    return (
        Cell(text=summary.arm.name),
        Cell(text=plus_minus(measured.log_loss)),
        log_loss,
        Cell(text=plus_minus(measured.ranking_loss if ranked else measured.auc, 3)),
        Cell(text=percent(measured.relative_pd)),
        relative_pd,
        Cell(text="NaN" if math.isnan(counted.train_lookups) else lookups),
    )


def _signed(interval: Interval) -> str:
    shown = plus_minus(interval)
    if math.isnan(interval.value):
        return shown
    return f"+{shown}" if interval.value >= 0 else shown.replace("-", "−", 1)


def verdict_of(comparison: Comparison, *, none: float) -> Verdict:
    """Return the result of a comparison; ``none`` is the null value."""
    if math.isnan(comparison.interval.low):
        return Verdict.NONE
    if not comparison.settled:
        return Verdict.OPEN
    return Verdict.BETTER if comparison.interval.value < none else Verdict.WORSE


def _notes(summary: Summary) -> Iterator[str]:
    sweep = summary.sweep
    counts = sorted({len(each.arm.done) for each in summary.arms})
    replicas = "–".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))
    varied = ", ".join(sweep.varied) or "nothing"
    yield (
        f"{replicas} replicas per arm, varied: {varied}. 95 % intervals over examples, clustered by"
        " group, and over replicas. Lookups per example: train/serve."
    )
    for source in summary.sources:
        yield f"{sweep.baseline.name} with {source.source} varied alone: {_floor(source)}."
    yield from _missing(summary)
    yield from _devices(summary)
    yield from _damping(summary)
    few = [each.arm.name for each in summary.arms if 0 < len(each.arm.done) < FEWEST_REPLICAS]
    if few:
        yield (
            f"Fewer than {FEWEST_REPLICAS} replicas, intervals cover examples only:"
            f" {', '.join(few)}."
        )
    nothing = [each.arm.name for each in summary.arms if each.learned_nothing]
    if nothing:
        yield (
            "Learned nothing (normalized entropy not significantly below 1, that of a constant "
            f"prediction): {', '.join(nothing)}."
        )
    yield from _open(summary)
    yield from _undefined(summary)


def _floor(source: SourceSummary) -> str:
    found = source.relative_pd
    if math.isnan(found.value):
        return f"its relative PD is unknown, {found.reason}"
    meaning = ", caused by floating-point order alone" if source.source == ARITHMETIC else ""
    return f"relative PD {percent(found, 3)}{meaning}"


def _missing(summary: Summary) -> Iterator[str]:
    every = [*(each.arm for each in summary.arms), *(each.trials for each in summary.sources)]
    missing = [f"{each.name} {each.missing} of {each.planned}" for each in every if each.missing]
    if missing:
        yield f"Missing trials: {', '.join(missing)}."


def _devices(summary: Summary) -> Iterator[str]:
    """Return a note if replicas were trained on different devices, which round differently."""
    every = [*(each.arm for each in summary.arms), *(each.trials for each in summary.sources)]
    devices = sorted({device for each in every for device in each.devices})
    if len(devices) > 1:
        yield (
            f"Trained on {' and '.join(devices)}: they round differently, which adds to the "
            "prediction difference; set engine.device for all."
        )


def _damping(summary: Summary) -> Iterator[str]:
    """Return notes on the effect of ``delta_scale``, and on arms where it is unknown."""
    for each in summary.damping:
        found = each.twins
        yield (
            f"Damping, {found.damped.name} (delta_scale {found.scale:g}) beside"
            f" {found.beside.name} ({found.beside_scale:g}): log loss"
            f" {_said(each.log_loss, difference_words)}, PD"
            f" {_said(each.relative_pd, ratio_words)}.{_meaning(each.log_loss)}"
        )
    if summary.never_damped:
        yield (
            "No damped arm was trained, so it is unknown whether delta_scale is needed for"
            f" {', '.join(arm.name for arm in summary.never_damped)}."
        )


def _meaning(log_loss: Comparison) -> str:
    verdict = verdict_of(log_loss, none=0.0)
    meanings = {
        Verdict.BETTER: " Damping is needed here.",
        Verdict.WORSE: " Damping reduces accuracy here.",
    }
    return meanings.get(verdict, "")


def _said(comparison: Comparison, words: Callable[[Comparison], str]) -> str:
    found = comparison.interval
    return f"not known, {found.reason}" if math.isnan(found.low) else words(comparison)


def _open(summary: Summary) -> Iterator[str]:
    """Return notes on how many replicas would settle open comparisons, grouped."""
    arms: defaultdict[str, list[str]] = defaultdict(list)
    for each in summary.arms:
        if each.arm is summary.sweep.baseline or each.learned_nothing:
            continue
        versus = each.versus_baseline
        for quantity, comparison in (("log loss", versus.log_loss), ("PD", versus.relative_pd)):
            if comparison.settled or math.isnan(comparison.interval.low):
                continue
            if comparison.more_replicas is not None:
                arms[f"Open in {quantity}; more replicas needed"].append(
                    f"{each.arm.name} {comparison.more_replicas}"
                )
            elif comparison.interval.covers_replicas:
                arms[f"Open in {quantity}; more replicas would not settle"].append(each.arm.name)
            else:
                arms[f"Open in {quantity}; too few replicas to estimate how many more"].append(
                    each.arm.name
                )
    for answer, names in arms.items():
        yield f"{answer}: {', '.join(names)}."


def _undefined(summary: Summary) -> Iterator[str]:
    """Return notes on why a value or its bounds are NaN, grouped by reason."""
    arms: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    finished = [each for each in summary.arms if each.arm.done]
    for each in finished:
        reasons: defaultdict[str, list[str]] = defaultdict(list)
        for field in fields(Measured):
            interval: Interval = getattr(each.measured, field.name)
            if interval.reason:
                reasons[interval.reason].append(field.name)
        for reason, names in reasons.items():
            arms[", ".join(names), reason].append(each.arm.name)
    for (quantities, reason), names in arms.items():
        whose = "all arms" if len(names) == len(finished) else ", ".join(names)
        yield f"No {quantities} of {whose}, or no bounds: {reason}."


def _markdown_row(texts: tuple[str, ...] | list[str]) -> str:
    return f"| {' | '.join(texts)} |"
