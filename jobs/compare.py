"""``soloist compare``: prediction difference and accuracy of prediction files of any system."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Table
from typer import Argument, Option

from analysis.atomic_files import write_whole
from analysis.prediction_files.comparison import FileComparison, compare_files
from analysis.results.tables import bounds, plus_minus
from analysis.statistics.intervals import FEWEST_REPLICAS, Interval
from analysis.text import without_formulas
from jobs.command import run, terminal
from recsys.errors import ConfigError


def compare(
    files: Annotated[
        list[Path],
        Argument(
            metavar="A B [C ...]",
            help="Parquet or CSV with columns example, label, prediction; optional group, weight.",
        ),
    ],
    top_k: Annotated[int, Option(min=1, help="Number of recommended items of a group.")] = 10,
    threshold: Annotated[
        float | None,
        Option(min=0.0, max=1.0, help="Threshold of label churn. [default: the base rate]"),
    ] = None,
    output: Annotated[
        Path | None,
        Option("--output", "-o", metavar="FILE", help="Write all numbers to FILE.csv or .parquet."),
    ] = None,
    scratch: Annotated[
        Path | None,
        Option(metavar="DIR", help="Directory for temporary files. [default: the system's]"),
    ] = None,
) -> None:
    """Measure the prediction difference between files of the same examples, and their accuracy.

    Pass the predictions of replicas of one model to measure the irreproducibility of any system.
    Rows may be in any order. Files may be larger than memory: about a million rows of each, or the
    largest group, are in memory at a time, and about 40 bytes a row go to the scratch directory.
    """
    if output is not None and output.suffix not in (".csv", ".parquet"):
        raise ConfigError(f"--output: found {output.name!r}, expected a name in .csv or .parquet")
    if scratch is not None and not scratch.is_dir():
        raise ConfigError(f"--scratch: found {scratch}, expected an existing directory")
    found = compare_files(files, top_k=top_k, threshold=threshold, scratch=scratch)
    if output is not None:
        write_whole(output, lambda path: _write(comparison_table(found), output.suffix, path))
    console = terminal()
    console.print(_accuracy_table(found))
    console.print(_difference_table(found))
    for note in _notes(found):
        console.print(note)


def comparison_table(found: FileComparison) -> pd.DataFrame:
    """Return all numbers: columns quantity, file, value, low, high, covers_replicas, reason.

    ``file`` is empty for a quantity of all files together. ``QUANTITY_vs_first`` is the difference
    from the first file.
    """
    rows = []
    for accuracy in found.accuracy:
        name = accuracy.name
        for path, each, versus in zip(found.paths, accuracy.each, accuracy.from_first, strict=True):
            rows.append(_record(name, str(path), each))
            rows.append(_record(f"{name} vs first", str(path), versus))
    rows += [_record(each.name, "", each.mean) for each in found.differences]
    return pd.DataFrame(rows)


def _record(name: str, file: str, interval: Interval) -> dict[str, object]:
    columns = ("value", "low", "high", "covers_replicas", "reason")
    quantity = name.lower().replace(" ", "_").replace("-", "_")
    return {"quantity": quantity, "file": file} | {
        column: getattr(interval, column) for column in columns
    }


def _write(table: pd.DataFrame, kind: str, path: Path) -> None:
    if kind == ".csv":
        without_formulas(table).to_csv(path, index=False)
    else:
        table.to_parquet(path, index=False)


def _accuracy_table(found: FileComparison) -> Table:
    table = Table(title="Accuracy of each file", box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("file", overflow="fold")
    shown = [each for each in found.accuracy if not each.each[0].reason]
    for accuracy in shown:
        table.add_column(accuracy.name, justify="right", no_wrap=True)
    table.add_column("log loss − first", justify="right", no_wrap=True)
    losses = next(each for each in found.accuracy if each.name == "log loss")
    for number, path in enumerate(found.paths):
        table.add_row(
            path.name,
            *(plus_minus(accuracy.each[number]) for accuracy in shown),
            "" if number == 0 else plus_minus(losses.from_first[number], 5),
        )
    return table


def _difference_table(found: FileComparison) -> Table:
    table = Table(title="Prediction difference", box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("form")
    for heading in ("mean", "95 % interval", "range over pairs"):
        table.add_column(heading, justify="right")
    for each in found.differences:
        paired = not math.isnan(each.least) and len(found.paths) > 2
        table.add_row(
            each.name,
            "NaN" if math.isnan(each.mean.value) else f"{each.mean.value:.5f}",
            bounds(each.mean, 5),
            f"{each.least:.5f} to {each.most:.5f}" if paired and each.is_of_pairs else "",
        )
    return table


def _notes(found: FileComparison) -> list[str]:
    groups = f" in {found.groups:,} groups" if found.groups else " without groups"
    notes = [
        f"{found.examples:,} examples{groups}; label churn at threshold {found.threshold:.4g}.",
        f"AUC comes from a histogram; its error is at most {found.auc_error:.1e}.",
    ]
    if len(found.paths) < FEWEST_REPLICAS:
        notes.append("Two files: intervals cover the sampling of examples, not of replicas.")
    else:
        notes.append(
            f"{len(found.paths)} files as replicas of one system: intervals of the prediction"
            " difference cover the sampling of examples and replicas; those of accuracy and of"
            " mean deviations cover only the sampling of examples."
        )
    quantities = [(each.name, each.each[0]) for each in found.accuracy]
    quantities += [(each.name, each.mean) for each in found.differences]
    notes += [f"No {name}: {each.reason}." for name, each in quantities if each.reason]
    return notes


if __name__ == "__main__":
    run(compare)
