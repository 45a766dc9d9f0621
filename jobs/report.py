"""``soloist report``: writes the trade-off table, the figures and the page of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from analysis.atomic_files import whole_directory
from analysis.figures.render import save
from analysis.report.document import FIGURES, Section, arms_of, figures, sections, write_page
from analysis.results.reading import read_sweep
from analysis.results.summary import summarize
from analysis.results.tables import as_terminal, page
from analysis.tradeoff import write_table
from analysis.verdict.replacement import Margins
from analysis.verdict.verdict import verdicts
from distrib.trials.remote_results import Results
from jobs.command import echo, run, terminal
from jobs.figures import draw_activations, draw_surfaces
from jobs.trial_lookup import sweep_at

REPORT = "report"
KINDS = ("png", "svg")


def report(
    directory: Annotated[str, Argument(metavar="DIR", help="Directory or URI of a sweep.")],
    log_loss_margin: Annotated[
        float,
        Option(metavar="NATS", min=0.0, help="Tolerated increase of a replacement's log loss."),
    ] = Margins().log_loss,
    pd_margin: Annotated[
        float,
        Option(
            metavar="SHARE", min=0.0, help="Tolerated increase of its relative PD: 0.05 is 5 %."
        ),
    ] = Margins().relative_pd,
    ranking_loss_margin: Annotated[
        float,
        Option(
            metavar="SHARE",
            min=0.0,
            help="Tolerated increase of its ranking loss, as a share of the incumbent's gain over "
            "random order: 0.01 is 1 %.",
        ),
    ] = Margins().ranking_loss,
) -> None:
    """Print the trade-off table of a sweep; write table, figures and a page to DIR/report.

    If trials are missing, the table names them. The table is written as Parquet and CSV with all
    columns, and as Markdown and LaTeX for reading; figures as PNG and SVG. report.html contains
    the verdict, the table and the figures in one file that works offline.
    """
    with sweep_at(directory) as results:
        margins = Margins(
            log_loss=log_loss_margin, relative_pd=pd_margin, ranking_loss=ranking_loss_margin
        )
        verdict = make_report(results, margins)
    echo(verdict)


def make_report(results: Results, margins: Margins | None = None) -> str:
    """Print the table of results; write table, figures and page to their folder ``report``.

    Replaces the folder atomically. Returns the verdict, which the caller prints last.
    """
    margins = margins or Margins()
    summary = summarize(read_sweep(results.directory))
    judged = verdicts(summary, margins)
    parts = sections(summary, arms_of(judged, summary))
    with whole_directory(results.directory / REPORT) as place:
        tables = write_table(summary, place)
        drawn = draw(parts, place)
        written = write_page(summary, parts, judged, margins, place)
    for name in set(FIGURES) - {path.stem for path in drawn}:
        for kind in KINDS:
            results.drop(f"{REPORT}/{name}.{kind}")
    terminal().print(as_terminal(page(summary)))
    echo(f"{len(tables)} tables and {len(drawn)} figures: {results}/{REPORT}")
    echo(f"Page with verdict, table and figures: {results}/{REPORT}/{written.name}")
    return judged[0].words


def draw(parts: Sequence[Section], place: Path) -> list[Path]:
    """Write every figure as PNG and SVG; return the paths."""
    written = [path for each in figures(parts) for path in save(each.chart, place, each.name)]
    return written + draw_activations(place) + draw_surfaces(place)


if __name__ == "__main__":
    run(report)
