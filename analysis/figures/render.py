"""Renders Altair charts as PNG, SVG and for the page, in a light and a dark theme.

Charts contain no colours. A theme is a Vega-Lite config with the colours of series and these mark
styles: ``muted`` (reference lines), ``front`` (a broad pale line), ``hollow`` (an outlined marker),
``label`` (text on a plot) and ``halo`` (the background of such a text).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from analysis.atomic_files import write_whole

Spec = dict[str, Any]

#: Okabe and Ito's colours, distinct to the colour-blind; dark ones first, for print in grey.
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
DASHES = ([1, 0], [6, 3], [8, 3, 2, 3], [2, 2], [8, 2, 2, 2, 2, 2], [12, 3], [1, 1])
_CROSS = "M-1,-.6L-.6,-1L0,-.4L.6,-1L1,-.6L.4,0L1,.6L.6,1L0,.4L-.6,1L-1,.6L-.4,0Z"
_STAR = "M0,-1.2L.3,-.3L1.2,0L.3,.3L0,1.2L-.3,.3L-1.2,0L-.3,-.3Z"
MARKERS = (
    *("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", _CROSS),
    *("triangle-left", "triangle-right", _STAR),
)
FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
#: WCAG 2.2: text (1.4.3), and lines and markers (1.4.11), against their background.
TEXT_CONTRAST = 4.5
GRAPHIC_CONTRAST = 3.0
#: The plot area of a figure, in pixels of an unscaled PNG; the page fits the width to the screen.
WIDTH, HEIGHT = 640, 380
PNG_SCALE = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Theme:
    """Colours; ``series`` are ``COLOURS`` in order, with enough contrast to ``panel``."""

    paper: str
    panel: str
    ink: str
    muted: str
    grid: str
    link: str
    better: str
    worse: str
    series: tuple[str, ...]

    @property
    def variables(self) -> dict[str, str]:
        """The colours as CSS variables, without leading dashes."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        series = named.pop("series")
        return named | {f"series-{number}": colour for number, colour in enumerate(series)}

    @property
    def config(self) -> Spec:
        """The Vega-Lite config of this theme."""
        guides = {"labelColor": self.ink, "titleColor": self.ink, "titleFontWeight": "normal"}
        sizes = {"labelFontSize": 12, "titleFontSize": 12}
        return {
            "background": self.panel,
            "font": FONT,
            "view": {"stroke": None},
            "range": {"category": list(self.series), "symbol": list(MARKERS)},
            "axis": guides
            | sizes
            | {"gridColor": self.grid, "domainColor": self.muted, "tickColor": self.muted}
            | {"labelFlush": False, "labelOverlap": "greedy", "labelSeparation": 8},
            "axisX": {"tickCount": 8},
            "legend": guides
            | sizes
            | {"labelLimit": 240, "symbolStrokeWidth": 0, "symbolOpacity": 1},
            "header": guides | sizes,
            "title": {"color": self.ink, "anchor": "start", "fontSize": 14},
            "mark": {"color": self.series[1]},
            "point": {"filled": True, "size": 70, "opacity": 1},
            "rule": {"color": self.series[1]},
            "style": {
                "muted": {"color": self.muted, "strokeWidth": 1},
                "front": {"color": self.muted, "strokeWidth": 7, "opacity": 0.35},
                "hollow": {"color": self.panel, "strokeWidth": 2},
                "label": {"color": self.ink},
                "halo": {"color": self.panel, "stroke": self.panel, "strokeWidth": 5},
            },
        }


def contrasting(colour: str, background: str, least: float) -> str:
    """Return a colour, darkened or lightened to a contrast ratio with a background.

    Colours are ``#rrggbb``; ``least`` is a contrast ratio of WCAG 2.2, from 1 to 21.
    """
    ground, first = _luminance(background), _channels(colour)
    target = 0.0 if ground > 0.5 else 1.0
    for step in range(101):
        mixed = [round(255 * (each + (target - each) * step / 100)) for each in first]
        found = "#" + "".join(f"{each:02x}" for each in mixed)
        lighter, darker = sorted((_luminance(found), ground), reverse=True)
        if (lighter + 0.05) / (darker + 0.05) >= least:
            return found
    raise ValueError(f"nothing contrasts {least}:1 with {background}")


def _channels(colour: str) -> list[float]:
    return [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]


def _luminance(colour: str) -> float:
    r, g, b = (
        each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4
        for each in _channels(colour)
    )
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def _theme(paper: str, panel: str, ink: str, grid: str, lines: float) -> Theme:
    _, blue, red, green, *_ = COLOURS
    text = partial(contrasting, background=panel, least=TEXT_CONTRAST + 0.5)
    return Theme(
        paper=paper,
        panel=panel,
        ink=ink,
        muted=contrasting("#777777", panel, TEXT_CONTRAST + 1),
        grid=grid,
        link=text(blue),
        better=text(green),
        worse=text(red),
        series=(ink, *(contrasting(each, panel, lines) for each in COLOURS[1:])),
    )


THEMES = {
    "light": _theme("#f6f7f8", "#ffffff", "#16191d", "#dfe3e7", GRAPHIC_CONTRAST),
    # Thin lines on black look darker than their colour is.
    "dark": _theme("#101316", "#181c20", "#e9ecef", "#353c43", TEXT_CONTRAST),
}
#: The page's theme: CSS variables, which follow the reader's colour scheme and the printer.
PAGE = Theme(
    **{name: f"var(--{name})" for name in THEMES["light"].variables if "series" not in name},
    series=tuple(f"var(--series-{number})" for number in range(len(COLOURS))),
)


def by_series(field: str, names: Sequence[str], *, legend: alt.Legend | None) -> dict[str, Any]:
    """Return encodings that distinguish series by marker and dash, then by colour.

    Use as ``mark_line(point=True).encode(**by_series("arm", names, legend=...))``.
    """
    domain = list(names)
    common: dict[str, Any] = {"sort": domain, "legend": legend}
    return {
        "color": alt.Color(f"{field}:N", scale=alt.Scale(domain=domain), **common),
        "shape": alt.Shape(f"{field}:N", scale=alt.Scale(domain=domain), **common),
        "strokeDash": alt.StrokeDash(
            f"{field}:N", scale=alt.Scale(domain=domain, range=list(DASHES)), **common
        ),
    }


def known(value: float) -> float | None:
    """Return a number for chart data, None for NaN, which JSON lacks."""
    return float(value) if math.isfinite(value) else None


def embed(chart: alt.TopLevelMixin) -> Spec:
    """Return a chart's Vega-Lite specification without theme and title."""
    spec: Spec = chart.to_dict()
    return {key: each for key, each in spec.items() if key not in ("$schema", "config", "title")}


def themed(chart: alt.TopLevelMixin, theme: Theme = THEMES["light"]) -> Spec:
    """Return a chart's Vega-Lite specification with a theme."""
    return chart.to_dict() | {"config": theme.config, "padding": 12}


def save(chart: alt.TopLevelMixin | Spec, directory: Path, name: str) -> list[Path]:
    """Write NAME.png and NAME.svg in the light theme, atomically; return their paths.

    A figure is an Altair chart or, where Vega-Lite lacks a transform, a Vega specification.
    """
    if isinstance(chart, dict):
        svg = vl_convert.vega_to_svg(chart)
    else:
        svg = vl_convert.vegalite_to_svg(themed(chart))
    png = vl_convert.svg_to_png(svg, scale=PNG_SCALE)
    return [
        write_whole(directory / f"{name}.png", lambda path: path.write_bytes(png)),
        write_whole(directory / f"{name}.svg", lambda path: path.write_text(svg, "utf-8")),
    ]
