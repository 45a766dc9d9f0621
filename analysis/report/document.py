"""The report as one self-contained HTML page."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from analysis.atomic_files import write_whole
from analysis.figures import learning_curves, pd_sources, tradeoff_plots
from analysis.figures.calibration import calibration
from analysis.figures.figure import Absent, Figure
from analysis.figures.render import PAGE, THEMES, embed
from analysis.figures.study import study_figures
from analysis.report import tradeoff_table
from analysis.results import tables as presentation
from analysis.results.reading import ArmResults, SweepResults, Trial, Trials
from analysis.results.slices import slice_sweep
from analysis.results.spending import COUNTED, Prices, Spent, actual, read_spending, total
from analysis.results.summary import Summary
from analysis.verdict.replacement import Margins, trained_alike
from analysis.verdict.verdict import Verdict


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """A table; the first row of ``numbers`` is the header."""

    title: str
    text: str
    numbers: tuple[tuple[str, ...], ...]


#: Quantities of ``cost.json``: key, heading, decimals.
COLUMNS = (
    ("train_lookups", "lookups, train", 1),
    ("serve_lookups", "lookups, serve", 1),
    ("train_lookup_bytes", "lookup bytes, train", 0),
    ("serve_lookup_bytes", "lookup bytes, serve", 0),
    ("train_unique_rows", "distinct rows a batch", 0),
    ("train_dense_flops", "dense FLOPs, train", 0),
    ("serve_dense_flops", "dense FLOPs, serve", 0),
    ("parameters", "parameters served", 0),
    ("optimizer_state_elements", "optimizer state, numbers", 0),
    ("train_examples_per_second", "training examples/s", 0),
    ("serve_us_per_example", "serving, µs an example", 1),
    ("serve_latency_us_p50", "serving latency p50, µs", 0),
    ("serve_latency_us_p99", "serving latency p99, µs", 0),
)


def costs(sweep: SweepResults) -> Listing | Absent:
    """Return each arm's cost of one example, the mean over its finished replicas."""
    title = "Cost of an example"
    arms = [arm for arm in sweep.arms if arm.done]
    if not arms:
        return Absent(title=title, reason="no trial is finished")
    columns = [each for each in COLUMNS if any(each[0] in arm.cost for arm in arms)]
    return Listing(
        title=title,
        text="Lookups, bytes, FLOPs and parameters are counted. Times are those of the machine"
        " named under provenance; replicas trained side by side were timed together, so compare"
        " arms of one sweep, not sweeps.",
        numbers=(
            ("arm", *(heading for _, heading, _ in columns)),
            *((arm.name, *(_mean(arm, key, digits) for key, _, digits in columns)) for arm in arms),
        ),
    )


def spent(sweep: SweepResults) -> Listing | Absent:
    """Return the usage of the finished trials and the earlier estimate, with money if priced."""
    title = "Cost of the sweep"
    kept = read_spending(sweep.directory)
    prices = kept.prices if kept else Prices()
    expected = {row.arm: row for row in kept.estimated} if kept else {}
    alone = [
        replace(each, name=f"{sweep.baseline.name} ({each.name} alone)") for each in sweep.sources
    ]
    rows = actual([*sweep.arms, *alone], prices)
    if not rows:
        return Absent(title=title, reason="no trial is finished")
    priced = prices.per_core_hour is not None or prices.per_gpu_hour is not None
    money = (prices.currency or "money",) if priced else ()
    unpriced = "" if priced else " Money is shown where the sweep is given prices."
    return Listing(
        title=title,
        text=COUNTED + unpriced,
        numbers=(
            (
                *("arm", "trials", "lookups", "core-hours", "GPU-hours", *money),
                *("estimated core-hours", "estimate from"),
            ),
            *(_spent(row, expected.get(row.arm), priced) for row in (*rows, total(rows))),
        ),
    )


def _spent(row: Spent, estimate: Spent | None, priced: bool) -> tuple[str, ...]:
    return (
        row.arm,
        f"{row.trials:,}",
        _number(row.lookups),
        _number(row.core_hours),
        _number(row.gpu_hours),
        *((_number(row.money),) if priced else ()),
        _number(estimate.core_hours) if estimate else "",
        estimate.basis if estimate else "",
    )


def _number(value: float) -> str:
    if math.isnan(value):
        return "unknown"
    return f"{value:,.0f}" if value >= 1000 or value == 0 else f"{value:.3g}"


def _mean(arm: ArmResults, key: str, digits: int) -> str:
    values = arm.cost.get(key, pd.Series(dtype=float))
    return f"{float(values.mean()):,.{digits}f}" if len(values) else "not measured"


def provenance(sweep: SweepResults) -> tuple[Listing | Absent, ...]:
    """Return the provenance of the finished trials, with the number of trials, and their seeds."""
    every = [trial for _, row in _rows(sweep) for trial in row.done]
    if not every:
        return (Absent(title="Provenance", reason="no trial is finished"),)
    return (_facts(every), _seeds(sweep))


def _facts(trials: list[Trial]) -> Listing:
    counted: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for trial in trials:
        for name, value in _facts_of(trial):
            counted[name][value] += 1
    return Listing(
        title="Code, libraries and machines",
        text=f"From the provenance of {len(trials)} finished trials. Where a line has several"
        " values, trials differ in it.",
        numbers=(
            ("what", "value", "trials"),
            *(
                (name, value, str(count))
                for name, values in counted.items()
                for value, count in sorted(values.items())
            ),
        ),
    )


def _facts_of(trial: Trial) -> Iterator[tuple[str, str]]:
    """Yield a trial's provenance except its seeds."""
    found = trial.document("provenance.json")
    for name, value in found.items():
        if name == "seeds":
            continue
        if isinstance(value, dict):
            yield from ((_spaced(f"{name} {key}"), _shown(each)) for key, each in value.items())
        else:
            yield _spaced(name), _shown(value)
    if trial.has("config.json"):
        yield "data fingerprint", str(trial.document("config.json").get("data_fingerprint"))


def _seeds(sweep: SweepResults) -> Listing:
    """Return each row's seeds by source."""
    table: dict[str, dict[str, list[Any]]] = {}
    for title, row in _rows(sweep):
        seeds: defaultdict[str, list[Any]] = defaultdict(list)
        for trial in row.done:
            for source, seed in trial.document("provenance.json").get("seeds", {}).items():
                seeds[source].append(seed)
        table[title] = seeds
    sources = list(dict.fromkeys(source for seeds in table.values() for source in seeds))
    varied = ", ".join(sweep.varied) or "nothing"
    return Listing(
        title="Seeds",
        text=f"What differs between the replicas of an arm: {varied}.",
        numbers=(
            ("replicas of", *sources),
            *(
                (title, *(_spelled(seeds.get(source, [])) for source in sources))
                for title, seeds in table.items()
            ),
        ),
    )


def _rows(sweep: SweepResults) -> Iterator[tuple[str, Trials]]:
    yield from ((arm.name, arm) for arm in sweep.arms)
    yield from ((f"{sweep.baseline.name}, {row.name} alone", row) for row in sweep.sources)


def _spelled(seeds: list[Any]) -> str:
    return ", ".join(str(seed) for seed in dict.fromkeys(seeds))


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _shown(value: object) -> str:
    return "none" if value is None else str(value)


NAME = "report.html"
#: All figures of a sweep. Results may not suffice for each.
FIGURES = (
    "study",
    *("pd_accuracy", "pd_lookups", "pd_source", "pd_slice_0", "pd_slice_1", "pd_slice_2"),
    *("pd_progress", "eval_log_loss", "progressive_log_loss", "calibration", "staleness"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A section of the page with its heading."""

    identifier: str
    title: str
    parts: tuple[Figure | Listing | Absent, ...]


def sections(summary: Summary, first: Collection[str] = ()) -> tuple[Section, ...]:
    """Return all sections after the trade-off table; ``first`` get the most distinct styles.

    Raises:
        ResultsError: a file is invalid.
    """
    sweep = summary.sweep
    slices = [
        pd_sources.by_slice(number, each, first) for number, each in enumerate(slice_sweep(sweep))
    ]
    parts: dict[tuple[str, str], Sequence[Figure | Listing | Absent]] = {
        ("answer", "Study"): study_figures(sweep),
        ("tradeoff", "What prediction difference costs"): (
            tradeoff_plots.pd_accuracy(summary),
            tradeoff_plots.pd_lookups(summary),
        ),
        ("sources", "Where prediction difference comes from"): (
            pd_sources.by_source(summary),
            *slices,
            learning_curves.pd_progress(sweep, first),
        ),
        ("training", "Training"): (
            learning_curves.eval_log_loss(sweep, first),
            learning_curves.progressive_log_loss(sweep, first),
            calibration(sweep, first),
            learning_curves.staleness(sweep, first),
        ),
        ("cost", "Cost"): (costs(sweep), spent(sweep)),
        ("provenance", "Provenance"): provenance(sweep),
    }
    return tuple(
        Section(identifier=identifier, title=title, parts=tuple(found))
        for (identifier, title), found in parts.items()
        if found
    )


def figures(parts: Sequence[Section]) -> Iterator[Figure]:
    """Yield the figures of all sections."""
    for section in parts:
        yield from (part for part in section.parts if isinstance(part, Figure))


def arms_of(verdicts: Sequence[Verdict], summary: Summary) -> set[str]:
    """Return the arms of the verdict, which the figures show by default."""
    first = verdicts[0]
    found = {summary.sweep.baseline.name, first.incumbent.name}
    return found | ({first.chosen.name} if first.chosen else set())


def write_page(
    summary: Summary,
    parts: Sequence[Section],
    verdicts: Sequence[Verdict],
    margins: Margins,
    directory: Path,
) -> Path:
    """Write the page atomically; return its path."""
    text = render(summary, parts, verdicts, margins)
    return write_whole(directory / NAME, lambda path: path.write_text(text, encoding="utf-8"))


def render(
    summary: Summary, parts: Sequence[Section], verdicts: Sequence[Verdict], margins: Margins
) -> str:
    """Return the page with Vega embedded; it loads nothing."""
    return (
        _environment()
        .get_template("page.html")
        .render(
            sweep=summary.sweep,
            verdicts=verdicts,
            margins=margins,
            unlike=len(summary.arms) - len(trained_alike(summary.arms, summary.sweep.baseline)),
            notes=presentation.page(summary).notes,
            columns=tradeoff_table.COLUMNS,
            rows=tradeoff_table.rows(summary),
            marks=tradeoff_table.MARKS,
            sections=parts,
            drawn=arms_of(verdicts, summary),
            themes={name: theme.variables for name, theme in THEMES.items()},
            vega=vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"),
            data={
                "config": PAGE.config,
                "charts": {each.name: embed(each.chart) for each in figures(parts)},
            },
        )
    )


def _environment() -> Environment:
    """Return the template environment; ``source`` includes a file without escaping."""
    loader = PackageLoader("analysis", "report")
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # A browser refuses NaN in JSON, so that no chart would be drawn.
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False}
    environment.globals["source"] = lambda name: loader.get_source(environment, name)[0]
    environment.filters["breakable"] = _breakable
    environment.filters["unbroken"] = _unbroken
    return environment


def _breakable(name: str) -> Markup:
    """Allow line breaks after the underscores of a name."""
    return Markup("_<wbr>").join(name.split("_"))


def _unbroken(words: str) -> str:
    """Keep a number and its percent sign on one line."""
    return words.replace(" %", "\N{NO-BREAK SPACE}%")
