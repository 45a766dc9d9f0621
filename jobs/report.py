"""``soloist report``: the trade-off table and the figures of a sweep."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from matplotlib.figure import Figure
from typer import Argument, Option

from analysis.figures.calibration import calibration
from analysis.figures.plane import accuracy_plane, lookups_plane
from analysis.figures.progress import progress
from analysis.figures.style import save, styled
from analysis.page.document import write_page
from analysis.presentation import as_terminal, page
from analysis.replacement import Margins
from analysis.results import read_sweep
from analysis.summary import Summary, summarize
from analysis.tradeoff import write_table
from analysis.writing import whole_directory
from distrib.remote import Results
from jobs.command import run, say, terminal
from jobs.figures import draw_activations, draw_surfaces
from jobs.places import sweep_at

REPORT = "report"
#: Figures that results may not suffice for; those of an older report are dropped then.
OPTIONAL = ("pd_accuracy", "pd_lookups", "pd_progress", "calibration")
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
        make_report(results, Margins(log_loss=log_loss_margin, relative_pd=pd_margin))


def make_report(results: Results, margins: Margins | None = None) -> None:
    """Print the table of results; write it, the figures and the page to their folder ``report``.

    The folder changes as a whole, when all is written.
    """
    summary = summarize(read_sweep(results.directory))
    with whole_directory(results.directory / REPORT) as place:
        tables = write_table(summary, place)
        figures = draw(summary, place)
        written = write_page(summary, place, margins or Margins())
    for name in set(OPTIONAL) - {path.stem for path in figures}:
        for kind in KINDS:
            results.drop(f"{REPORT}/{name}.{kind}")
    console = terminal()
    console.print(as_terminal(page(summary)))
    say(f"{len(tables)} tables and {len(figures)} figures: {results}/{REPORT}")
    say(f"All of it on one page: {results}/{REPORT}/{written.name}")


def draw(summary: Summary, place: Path) -> list[Path]:
    """Write every figure that the results suffice for; return the paths of the files."""
    drawings: dict[str, Callable[[], Figure | None]] = {
        "pd_accuracy": lambda: accuracy_plane(summary),
        "pd_lookups": lambda: lookups_plane(summary),
        "pd_progress": lambda: progress(summary.sweep),
        "calibration": lambda: calibration(summary.sweep),
    }
    written = []
    for name, drawing in drawings.items():
        with styled():
            figure = drawing()
        if figure is not None:
            written += save(place, name, figure)
    return written + draw_activations(place) + draw_surfaces(place)


if __name__ == "__main__":
    run(report)
