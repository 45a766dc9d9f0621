"""The whole page: what is known of a sweep, put into one HTML file."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from analysis import presentation
from analysis.page import costs, courses, origins, planes, tradeoff
from analysis.page.calibration import calibration
from analysis.page.elements import Chart, Section
from analysis.page.provenance import provenance
from analysis.page.staleness import staleness
from analysis.page.theme import THEMES
from analysis.replacement import Margins, trained_alike
from analysis.slices import slice_sweep
from analysis.summary import Summary
from analysis.verdict import Verdict, verdicts
from analysis.writing import write_whole

NAME = "report.html"


def write_page(summary: Summary, directory: Path, margins: Margins) -> Path:
    """Write the page, whole or not at all; return its path.

    Raises:
        ResultsError: a file is not what a sweep writes.
    """
    text = render(summary, margins)
    return write_whole(
        directory / NAME, lambda unfinished: unfinished.write_text(text, encoding="utf-8")
    )


def render(summary: Summary, margins: Margins) -> str:
    """Return the page; it loads nothing, Plotly is in it."""
    found = verdicts(summary, margins)
    drawn = _drawn(summary, found)
    parts = sections(summary, drawn)
    charts = [part for section in parts for part in section.parts if isinstance(part, Chart)]
    return (
        _environment()
        .get_template("page.html")
        .render(
            sweep=summary.sweep,
            verdicts=found,
            margins=margins,
            unlike=len(summary.arms) - len(trained_alike(summary.arms, summary.sweep.baseline)),
            notes=presentation.page(summary).notes,
            columns=tradeoff.COLUMNS,
            rows=tradeoff.rows(summary),
            marks=tradeoff.MARKS,
            sections=parts,
            drawn=drawn,
            themes=THEMES,
            plotly=get_plotlyjs(),
            data={
                "themes": {name: theme.tokens() for name, theme in THEMES.items()},
                "charts": {
                    chart.identifier: {"traces": chart.traces, "layout": chart.layout}
                    for chart in charts
                },
            },
        )
    )


def sections(summary: Summary, drawn: Collection[str]) -> tuple[Section, ...]:
    """Return everything below the trade-off table; ``drawn`` are the arms drawn at first."""
    sweep = summary.sweep
    return (
        Section(
            identifier="bargain",
            title="What prediction difference costs",
            parts=(planes.accuracy(summary, drawn), planes.lookups(summary, drawn)),
        ),
        Section(
            identifier="origins",
            title="Where prediction difference comes from",
            parts=(
                origins.by_source(summary),
                *origins.by_slice(slice_sweep(sweep), drawn),
                courses.difference(sweep, drawn),
            ),
        ),
        Section(
            identifier="training",
            title="Training",
            parts=(
                *courses.learning(sweep, drawn),
                calibration(sweep, drawn),
                staleness(sweep, drawn),
            ),
        ),
        Section(identifier="cost", title="Cost", parts=(costs.costs(sweep), costs.spent(sweep))),
        Section(identifier="provenance", title="Provenance", parts=provenance(sweep)),
    )


def _environment() -> Environment:
    """Return what finds the template; ``source`` gives it the files beside it as they are."""
    loader = PackageLoader("analysis", "page")
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["source"] = lambda name: loader.get_source(environment, name)[0]
    environment.filters["breakable"] = _breakable
    environment.filters["unbroken"] = _unbroken
    return environment


def _breakable(name: str) -> Markup:
    """Let a narrow column break a name after its underscores."""
    return Markup("_<wbr>").join(name.split("_"))


def _unbroken(words: str) -> str:
    """Keep a number and its percent sign on one line."""
    return words.replace(" %", "\N{NO-BREAK SPACE}%")


def _drawn(summary: Summary, found: tuple[Verdict, ...]) -> set[str]:
    """Return the arms that the verdict speaks of: a line for each of many would hide them."""
    first = found[0]
    spoken_of = {summary.sweep.baseline.name, first.incumbent.name}
    return spoken_of | ({first.chosen.name} if first.chosen else set())
