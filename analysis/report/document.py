"""The report as one HTML page that needs nothing beside it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from analysis.atomic_files import write_whole
from analysis.figures import learning_curves, pd_sources, tradeoff_plots
from analysis.figures.calibration import calibration
from analysis.figures.figure import Absent, Figure
from analysis.figures.render import PAGE, THEMES, embed
from analysis.figures.study import study_figures
from analysis.report import listings, tradeoff_table
from analysis.report.listings import Listing
from analysis.results import tables as presentation
from analysis.results.slices import slice_sweep
from analysis.results.summary import Summary
from analysis.verdict.replacement import Margins, trained_alike
from analysis.verdict.verdict import Verdict

NAME = "report.html"
#: All figures of a sweep. Results may not suffice for each.
FIGURES = (
    "study",
    *("pd_accuracy", "pd_lookups", "pd_source", "pd_slice_0", "pd_slice_1", "pd_slice_2"),
    *("pd_progress", "eval_log_loss", "progressive_log_loss", "calibration", "staleness"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A part of the page with a heading of its own."""

    identifier: str
    title: str
    parts: tuple[Figure | Listing | Absent, ...]


def sections(summary: Summary, first: Collection[str] = ()) -> tuple[Section, ...]:
    """Return all that follows the trade-off table; arms in ``first`` get the most distinct looks.

    Raises:
        ResultsError: a file is not what a sweep writes.
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
        ("cost", "Cost"): (listings.costs(sweep), listings.spent(sweep)),
        ("provenance", "Provenance"): listings.provenance(sweep),
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
    """Return the arms that the verdict is about: a line for each of many would hide them."""
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
    """Return the page; it loads nothing, Vega is in it."""
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
    """Return what finds the template; ``source`` gives it the files beside it as they are."""
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
    """Let a narrow column break a name after its underscores."""
    return Markup("_<wbr>").join(name.split("_"))


def _unbroken(words: str) -> str:
    """Keep a number and its percent sign on one line."""
    return words.replace(" %", "\N{NO-BREAK SPACE}%")
