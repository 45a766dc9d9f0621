"""``soloist prepare``: converts a data set to a click log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from jobs.command import check_new, run, terminal
from jobs.experiment.documents import read_validated
from recsys.data.click_log import ClickLog
from recsys.data.download import Say, default_cache, find_data_set, obtain
from recsys.data.preparation import Encodings, Split, SplitBy, Watch
from recsys.data.preparation import prepare as prepare_log
from recsys.data.quality import dense_ranges, unknown_shares, warnings_of
from recsys.data.readers.delimited import Paths, find_sources
from recsys.data.readers.reader import Source
from recsys.data.readers.registry import READERS, check_options, entry
from recsys.data.readers.request import Request
from recsys.data.readers.table_schema import TableSchema
from recsys.data.writer import check_free
from recsys.errors import ConfigError

_source = partial(typer.Option, rich_help_panel="Sources")
_rows = partial(typer.Option, rich_help_panel="Rows and features")
_reader_option = partial(typer.Option, rich_help_panel="Options of single readers")


def prepare(  # noqa: PLR0913, PLR0917 - each is an option of the command line
    reader: Annotated[str, typer.Argument(help=f"One of {', '.join(READERS)}.")],
    output: Annotated[Path, typer.Option(help="Directory of the click log to write.")],
    source: Annotated[
        list[Path] | None,
        _source(help="File or directory to read. Can be repeated. [default: a public data set]"),
    ] = None,
    valid_source: Annotated[list[Path] | None, _source(help="Source of the valid split.")] = None,
    test_source: Annotated[list[Path] | None, _source(help="Source of the test split.")] = None,
    data_set: Annotated[
        str | None, _source(help="Public data set: movielens-100k, movielens-1m or movielens-10m.")
    ] = None,
    cache: Annotated[
        Path | None, _source(help="Directory for downloads. [default: soloist in the user's cache]")
    ] = None,
    split: Annotated[
        SplitBy | None,
        _rows(
            help="Method that splits rows into train, valid and test. [default: files if sources"
            " are splits, else time if rows have one, else fraction]"
        ),
    ] = None,
    valid: Annotated[float, _rows(help="Fraction of rows in the valid split.")] = 0.1,
    test: Annotated[float, _rows(help="Fraction of rows in the test split.")] = 0.1,
    split_seed: Annotated[int, _rows(help="Seed of --split fraction.")] = 0,
    encoding: Annotated[
        str | None,
        _rows(
            help="Mapping of categorical values to table rows: hash:ROWS, vocabulary:COUNT (values"
            " that occur at least COUNT times in train) or codes:N (integers from 0 to N - 1)."
            " [default: the reader's]"
        ),
    ] = None,
    feature: Annotated[
        list[str] | None, _rows(help="Encoding of one feature, as NAME=ENCODING. Can be repeated.")
    ] = None,
    threshold: Annotated[
        float | None, _reader_option(help="movielens: lowest rating that is a click. [default: 4]")
    ] = None,
    schema: Annotated[
        Path | None, _reader_option(help="tabular: YAML file that names the columns.")
    ] = None,
    rows: Annotated[
        int | None, _reader_option(help="synthetic: number of rows. [default: 100000]")
    ] = None,
    seed: Annotated[
        int | None, _reader_option(help="synthetic: seed of model and rows. [default: 0]")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the output if it exists.")
    ] = False,
) -> None:
    """Convert a data set to a click log: memory-mapped arrays for training.

    The click log is written atomically. Row 0 of every table is for values that are missing, or
    do not occur in the training split.
    """
    console = terminal(stderr=True)
    reader_options = {"threshold": threshold, "schema": schema, "rows": rows, "seed": seed}
    check_options(reader, reader_options)
    check_free(output, replace=replace)
    check_new(output)
    encodings = Encodings(default=encoding, of_feature=_pairs(feature or []))
    paths = Paths(train=source or [], valid=valid_source or [], test=test_source or [])
    say = partial(console.print, soft_wrap=True)
    request = Request(
        sources=_sources(reader, paths, data_set, cache or default_cache(), say),
        threshold=threshold,
        schema=None if schema is None else read_validated(schema, TableSchema),
        rows=rows,
        seed=seed,
    )
    with _progress(console) as watch:
        log = prepare_log(
            entry(reader).open(request),
            output,
            split=Split(by=split, valid=valid, test=test, seed=split_seed),
            encodings=encodings,
            replace=replace,
            watch=watch,
        )
    _print_summary(log, terminal())


def _pairs(texts: list[str]) -> dict[str, str]:
    """Return NAME=ENCODING arguments by name."""
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--feature {text!r}: expected NAME=ENCODING")
        pairs[name] = value
    return pairs


def _sources(
    reader: str, paths: Paths, data_set: str | None, cache: Path, say: Say
) -> tuple[Source, ...]:
    """Return the given sources, else the public data set, from cache or network."""
    chosen = entry(reader)
    if paths and chosen.sourceless:
        raise ConfigError(f"--source: reader {reader} takes no source")
    if paths or chosen.sourceless:
        return find_sources(paths, chosen.patterns)
    name = data_set or chosen.data_set
    if name is None:
        raise ConfigError(f"--source: missing; reader {reader} needs a file or directory")
    return (Source(path=obtain(find_data_set(name), cache, say)),)


@contextmanager
def _progress(console: Console) -> Iterator[Watch]:
    """Show phase and rows of a preparation on a terminal."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        TextColumn("{task.completed:,} rows"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks = {}

        def watch(phase: str, rows: int) -> None:
            if phase not in tasks:
                tasks[phase] = bars.add_task(phase, total=None)
            bars.update(tasks[phase], completed=rows)

        yield watch


def _print_summary(log: ClickLog, console: Console) -> None:
    splits = Table("split", "rows", "positive rate", title=str(log.directory), title_justify="left")
    for name, part in log.splits.items():
        if part:
            rate = log.label[part.start : part.stop].mean(dtype=float)
            splits.add_row(name, f"{len(part):,}", f"{rate:.4f}")
    console.print(splits)
    console.print(_feature_table(log))
    console.print(f"split by {log.meta['split']}; group: {log.schema.group or 'none'}")
    for warning in warnings_of(log):
        console.print(f"warning: {warning}", soft_wrap=True)
    console.print(f"fingerprint {log.fingerprint}")


def _feature_table(log: ClickLog) -> Table:
    """Return features with range and skew, or the share of unknown values, in each split."""
    used = [name for name, part in log.splits.items() if part]
    features = Table("feature", "kind", "rows", *used)
    ranges = [dense_ranges(log, name) for name in used]
    for dense in log.schema.dense:
        cells = [f"{found[dense].low:.3g} to {found[dense].high:.3g}" for found in ranges]
        skews = [f"\nskew {found[dense].skew:.2g}" for found in ranges]
        features.add_row(dense, "number", "", *map("".join, zip(cells, skews, strict=True)))
    unknown = [unknown_shares(log, name) for name in used]
    for sparse in log.schema.sparse:
        kind = "bag" if sparse.multi_valued else "category"
        cells = [f"{100 * found[sparse.name]:.1f} % unknown" for found in unknown]
        features.add_row(sparse.name, kind, f"{sparse.cardinality:,}", *cells)
    return features


if __name__ == "__main__":
    run(prepare)
