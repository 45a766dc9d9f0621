"""``soloist report``: the trade-off table and the figures of a sweep."""

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
from jobs.command import run, say, terminal
from jobs.figures import draw_activations, draw_surfaces
from jobs.trial_lookup import sweep_at

REPORT = "report"
KINDS = ("png", "svg")


def report(
    directory: Annotated[
        str, Argument(metavar="DIR", help="What `soloist sweep` wrote, or its URI.")
    ],
    log_loss_margin: Annotated[
        float,
        Option(
            "--log-loss-margin",
            metavar="NATS",
            min=0.0,
            help="How much higher the log loss of a replacement may be.",
        ),
    ] = Margins().log_loss,
    pd_margin: Annotated[
        float,
        Option(
            "--pd-margin",
            metavar="SHARE",
            min=0.0,
            help="How much higher its relative PD may be: 0.05 is 5 %.",
        ),
    ] = Margins().relative_pd,
) -> None:
    """Print the trade-off table of a sweep; write it, all figures and a page to DIR/report.

    Works while trials are missing: the table then says which. The table is written as Parquet and
    CSV with every column, and as Markdown and LaTeX to be read; figures as PNG and SVG. report.html
    holds all of it in one file that needs no network, with the verdict in words on top.
    """
    with sweep_at(directory) as results:
        verdict = make_report(results, Margins(log_loss=log_loss_margin, relative_pd=pd_margin))
    say(verdict)


def make_report(results: Results, margins: Margins | None = None) -> str:
    """Print the table of results; write it, the figures and the page to their folder ``report``.

    The folder changes as a whole, when all is written. Returns the verdict, which the caller prints
    last.
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
    say(f"{len(tables)} tables and {len(drawn)} figures: {results}/{REPORT}")
    say(f"All of it on one page: {results}/{REPORT}/{written.name}")
    return judged[0].words


def draw(parts: Sequence[Section], place: Path) -> list[Path]:
    """Write every figure as PNG and SVG; return the paths of the files."""
    written = [path for each in figures(parts) for path in save(each.chart, place, each.name)]
    return written + draw_activations(place) + draw_surfaces(place)


if __name__ == "__main__":
    run(report)
