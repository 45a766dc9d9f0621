"""Traces and layouts for Plotly, in the house's style."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from html import escape

from analysis.figures.style import COLOURS, Look, looks
from analysis.intervals import Interval
from analysis.page.elements import Spec

_SYMBOLS = {
    "o": "circle",
    "s": "square",
    "D": "diamond",
    "^": "triangle-up",
    "v": "triangle-down",
    "P": "cross",
    "X": "x",
    "<": "triangle-left",
    ">": "triangle-right",
    "*": "star",
}
_DASHES = {"-": "solid", "--": "dash", "-.": "dashdot", ":": "dot"}


def looks_of(names: Iterable[str], shown: Collection[str]) -> dict[str, Look]:
    """Return a look for each name; those that are ``shown`` have the ones most easily told."""
    return looks(sorted(names, key=lambda name: name not in shown))


def colour_of(look: Look) -> str:
    """Return the name of the theme's colour for a look."""
    return f"@{COLOURS.index(look.colour)}"


def symbol_of(look: Look) -> str:
    """Return Plotly's name of a look's marker."""
    return _SYMBOLS[look.marker]


def dash_of(look: Look) -> str:
    """Return a look's dash as Plotly writes it: a name, or lengths in pixels."""
    if isinstance(look.dash, str):
        return _DASHES[look.dash]
    return ",".join(f"{2 * each}px" for each in look.dash[1])


def errors(intervals: Sequence[Interval], colour: str) -> Spec:
    """Return error bars; a value without bounds has none."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [_reach(each.value, each.high) for each in intervals],
        "arrayminus": [_reach(each.low, each.value) for each in intervals],
        "color": colour,
        "thickness": 1,
        "width": 3,
    }


def line(
    name: str,
    x: Sequence[float | str],
    y: Sequence[float],
    look: Look,
    *,
    hover: Sequence[str],
) -> Spec:
    """Return the line of an arm, with markers; the page draws the arms that are chosen."""
    colour = colour_of(look)
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": plain(name),
        "meta": name,
        "x": list(x),
        "y": [known(each) for each in y],
        "line": {"color": colour, "dash": dash_of(look), "width": 2},
        "marker": {"color": colour, "symbol": symbol_of(look), "size": 8},
        "text": list(hover),
        "hovertemplate": "%{text}<extra></extra>",
    }


def axis(title: str, **others: object) -> Spec:
    """Return an axis that is not to be dragged: a finger on a chart moves the page."""
    return {
        "title": {"text": title},
        "automargin": True,
        "fixedrange": True,
        "color": "@ink",
        "gridcolor": "@grid",
        "linecolor": "@muted",
        "zeroline": False,
        **others,
    }


def layout(x: Spec, y: Spec, **others: object) -> Spec:
    """Return the layout of a chart; width, height and legend rows are the browser's to find."""
    return {
        "xaxis": x,
        "yaxis": y,
        "paper_bgcolor": "@panel",
        "plot_bgcolor": "@panel",
        "font": {"color": "@ink", "family": "system-ui, sans-serif", "size": 13},
        "hoverlabel": {
            "bgcolor": "@panel",
            "bordercolor": "@muted",
            "align": "left",
            "font": {"color": "@ink"},
        },
        "hovermode": "closest",
        "dragmode": False,
        "margin": {"l": 50, "r": 12, "t": 12, "b": 40},
        # Above the plot: below it a legend of many arms would cover the name of the axis.
        "legend": {
            "orientation": "h",
            "yanchor": "bottom",
            "y": 1.02,
            "x": 0,
            "xanchor": "left",
            "itemclick": False,
            "itemdoubleclick": False,
        },
        **others,
    }


def told(name: str, *facts: str) -> str:
    """Return what a point tells when pointed at, a fact a line."""
    return "<br>".join([f"<b>{plain(name)}</b>", *facts])


def plain(text: str) -> str:
    """Return a text that Plotly shows as it stands."""
    return escape(text, quote=False)


def known(value: float) -> float | None:
    """Return a number for JSON, which has no NaN."""
    return None if math.isnan(value) else value


def _reach(low: float, high: float) -> float:
    distance = high - low
    return 0.0 if math.isnan(distance) else distance
