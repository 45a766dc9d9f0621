"""``soloist prepare``: from a data set as published to a click log."""

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
from jobs.experiment.schema import read_validated
from recsys.data.click_log import ClickLog
from recsys.data.download import Say, default_cache, find_data_set, obtain
from recsys.data.preparation import Encodings, Split, SplitBy, Watch
from recsys.data.preparation import prepare as prepare_log
from recsys.data.readers.delimited import Paths, find_sources
from recsys.data.readers.reader import Source
from recsys.data.readers.registry import READERS, check_options, entry
from recsys.data.readers.request import Request
from recsys.data.readers.table_schema import TableSchema
from recsys.data.writer import check_free
from recsys.errors import ConfigError

_SOURCES, _ROWS, _OWN = "Sources", "Rows and features", "Options of single readers"


def prepare(  # noqa: PLR0913, PLR0917 - each is an option of the command line
    reader: Annotated[str, typer.Argument(help=f"One of {', '.join(READERS)}.")],
    output: Annotated[Path, typer.Option(help="The click log to write: a directory.")],
    source: Annotated[
        list[Path] | None,
        typer.Option(
            help="A file or directory to read; may be repeated. Without it, a public data set is"
            " downloaded where that is possible.",
            rich_help_panel=_SOURCES,
        ),
    ] = None,
    valid_source: Annotated[
        list[Path] | None,
        typer.Option(help="A source to validate on.", rich_help_panel=_SOURCES),
    ] = None,
    test_source: Annotated[
        list[Path] | None, typer.Option(help="A source to test on.", rich_help_panel=_SOURCES)
    ] = None,
    data_set: Annotated[
        str | None,
        typer.Option(
            help="The public data set to download: movielens-100k, movielens-1m, movielens-10m.",
            rich_help_panel=_SOURCES,
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Where downloads are kept. (default: soloist in the user's cache)",
            rich_help_panel=_SOURCES,
        ),
    ] = None,
    split: Annotated[
        SplitBy | None,
        typer.Option(
            help="How rows come into train, valid and test. (default: files where sources are"
            " splits, else time where rows have one, else fraction)",
            rich_help_panel=_ROWS,
        ),
    ] = None,
    valid: Annotated[
        float, typer.Option(help="Share of rows to validate on.", rich_help_panel=_ROWS)
    ] = 0.1,
    test: Annotated[
        float, typer.Option(help="Share of rows to test on.", rich_help_panel=_ROWS)
    ] = 0.1,
    split_seed: Annotated[
        int, typer.Option(help="Seed of --split fraction.", rich_help_panel=_ROWS)
    ] = 0,
    encoding: Annotated[
        str | None,
        typer.Option(
            help="How categorical values become table rows: hash:ROWS, vocabulary:COUNT (values"
            " that occur at least COUNT times in train) or codes:N (integers from 0 to N - 1)."
            " (default: the reader's)",
            rich_help_panel=_ROWS,
        ),
    ] = None,
    feature: Annotated[
        list[str] | None,
        typer.Option(
            help="The encoding of one feature, as NAME=ENCODING; may be repeated.",
            rich_help_panel=_ROWS,
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="movielens: the rating from which on a row is a click. (default: 4)",
            rich_help_panel=_OWN,
        ),
    ] = None,
    schema: Annotated[
        Path | None,
        typer.Option(help="tabular: a YAML file that names the columns.", rich_help_panel=_OWN),
    ] = None,
    rows: Annotated[
        int | None,
        typer.Option(help="synthetic: how many. (default: 100000)", rich_help_panel=_OWN),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="synthetic: of truth and rows. (default: 0)", rich_help_panel=_OWN),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Write the output anew if it is there.")
    ] = False,
) -> None:
    """Turn a data set into a click log: memory-mapped arrays that training reads.

    The click log appears whole at the end, or not at all.

    Row 0 of every table is for values that are missing or unknown to the training split.
    """
    console = terminal(stderr=True)
    own = {"threshold": threshold, "schema": schema, "rows": rows, "seed": seed}
    check_options(reader, own)
    check_free(output, replace=replace)
    check_new(output)
    encodings = Encodings(default=encoding, of_feature=_pairs(feature or []))
    sources = Paths(train=source or [], valid=valid_source or [], test=test_source or [])
    say = partial(console.print, soft_wrap=True)
    found = _sources(reader, sources, data_set, cache or default_cache(), say)
    request = Request(
        sources=found,
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
    _summarise(log, terminal())


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
    """Return the sources that are named, else the public data set, from cache or network."""
    chosen = entry(reader)
    if paths and chosen.sourceless:
        raise ConfigError(f"--source: reader {reader} takes no source")
    if paths or chosen.sourceless:
        return find_sources(paths, chosen.patterns)
    name = data_set or chosen.data_set
    if name is None:
        raise ConfigError(f"--source is missing: reader {reader} needs a file or directory")
    return (Source(path=obtain(find_data_set(name), cache, say)),)


@contextmanager
def _progress(console: Console) -> Iterator[Watch]:
    """Show what a preparation is doing and how far it is, on a terminal."""
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


def _summarise(log: ClickLog, console: Console) -> None:
    """Print what was written."""
    splits = Table("split", "rows", "positive rate", title=str(log.directory), title_justify="left")
    for name, part in log.splits.items():
        if part:
            rate = log.label[part.start : part.stop].mean(dtype=float)
            splits.add_row(name, f"{len(part):,}", f"{rate:.4f}")
    features = Table("feature", "kind", "table rows")
    for dense in log.schema.dense:
        features.add_row(dense, "number", "")
    for sparse in log.schema.sparse:
        kind = "bag" if sparse.multi_valued else "category"
        features.add_row(sparse.name, kind, f"{sparse.cardinality:,}")
    console.print(splits)
    console.print(features)
    console.print(f"split by {log.meta['split']}; group: {log.schema.group or 'none'}")
    console.print(f"fingerprint {log.fingerprint}")


if __name__ == "__main__":
    run(prepare)
