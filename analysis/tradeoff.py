"""The trade-off table: one row for each arm, with accuracy, prediction difference and cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pandas as pd

from analysis.atomic_files import write_whole
from analysis.results.reading import read_sweep
from analysis.results.summary import ArmSummary, Counted, Measured, Summary, summarize
from analysis.results.tables import Page, as_latex, as_markdown, page
from analysis.statistics.intervals import Interval
from analysis.text import without_formulas

NAME = "tradeoff"
#: Measured, but of the machine: these stand with the costs.
SPEEDS = ("train_examples_per_second", "serve_us_per_example")


def tradeoff_table(directory: Path | str) -> pd.DataFrame:
    """Return the trade-off table of a sweep's directory, one row for each arm.

    Columns: ``arm, activation, beta, components, replicas, log_loss, ne, auc, gauc, ranking_loss,
    relative_pd, swap_rate, train_lookups, serve_lookups, serve_lookup_bytes, parameters,
    train_examples_per_second, serve_us_per_example``; each measured one is followed by its 95 %
    bounds ``_low`` and ``_high``. Then ``log_loss_vs_baseline`` (difference in nats) and
    ``relative_pd_vs_baseline`` (ratio) with bounds, ``train_lookups_vs_baseline`` and
    ``serve_lookups_vs_baseline`` (ratios). Undefined values are NaN.

    Raises:
        ResultsError: the directory is not a valid sweep.
    """
    return table_of(summarize(read_sweep(directory)))


def table_of(summary: Summary) -> pd.DataFrame:
    """Return the trade-off table of a summary; columns as in ``tradeoff_table``."""
    return pd.DataFrame([_row(each) for each in summary.arms])


def write_table(summary: Summary, directory: Path) -> list[Path]:
    """Write the table atomically as Parquet and CSV, Markdown and LaTeX; return the paths."""
    table = table_of(summary)
    shown: Page = page(summary)
    writers: dict[str, Callable[[Path], object]] = {
        "parquet": lambda path: table.to_parquet(path, index=False),
        "csv": lambda path: without_formulas(table).to_csv(path, index=False),
        "md": lambda path: path.write_text(as_markdown(shown), encoding="utf-8"),
        "tex": lambda path: path.write_text(as_latex(shown), encoding="utf-8"),
    }
    return [write_whole(directory / f"{NAME}.{kind}", write) for kind, write in writers.items()]


def _row(summary: ArmSummary) -> dict[str, object]:
    arm, versus = summary.arm, summary.versus_baseline
    row: dict[str, object] = {
        "arm": arm.name,
        "activation": arm.activation,
        "beta": arm.beta,
        "components": arm.components,
        "replicas": len(arm.done),
    }
    measured = {each.name: getattr(summary.measured, each.name) for each in fields(Measured)}
    speeds = {
        name: measured.pop(name) for name in ("train_examples_per_second", "serve_us_per_example")
    }
    for name, interval in measured.items():
        row |= _bounded(name, interval)
    row |= {each.name: getattr(summary.counted, each.name) for each in fields(Counted)}
    for name, interval in speeds.items():
        row |= _bounded(name, interval)
    row |= _bounded("log_loss_vs_baseline", versus.log_loss.interval)
    row |= _bounded("relative_pd_vs_baseline", versus.relative_pd.interval)
    row["train_lookups_vs_baseline"] = versus.train_lookups
    row["serve_lookups_vs_baseline"] = versus.serve_lookups
    return row


def _bounded(name: str, interval: Interval) -> dict[str, float]:
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
