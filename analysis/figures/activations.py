"""Activations with their gradients, and loss surfaces, from the caller's arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import altair as alt
import numpy as np
from numpy.typing import NDArray

from analysis.figures.render import DASHES, FONT, THEMES, Spec

Floats = NDArray[np.float64]

LEVELS = 22
PANEL = 190


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """An activation with one beta: values and gradients at ``x``, ``(P,)`` each."""

    beta: float
    x: Floats
    value: Floats
    gradient: Floats


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """One activation with several betas."""

    name: str
    curves: tuple[Curve, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Surface:
    """The loss ``(P, Q)`` of a network at its inputs ``first`` ``(P,)`` and ``second`` ``(Q,)``."""

    name: str
    first: Floats
    second: Floats
    loss: Floats


def activation_curves(families: Sequence[Family]) -> alt.TopLevelMixin:
    """Return a row of panels for each family: the activation and its gradient."""
    rows = [
        alt.hconcat(
            _panel(family, "value", (-0.7, 4.3), legend=None),
            _panel(
                family,
                "gradient",
                (-0.2, 1.2),
                legend=alt.Legend(title="β", symbolSize=400, symbolStrokeWidth=2),
            ),
        ).resolve_scale(color="independent", strokeDash="independent")
        for family in families
    ]
    return alt.vconcat(*rows).resolve_scale(color="independent", strokeDash="independent")


def _panel(
    family: Family, what: str, y: tuple[float, float], legend: alt.Legend | None
) -> alt.Chart:
    rows = [
        {"x": x, "y": y, "β": f"{curve.beta:g}"}
        for curve in family.curves
        for x, y in zip(curve.x.tolist(), getattr(curve, what).tolist(), strict=True)
    ]
    betas = [f"{curve.beta:g}" for curve in family.curves]
    title = alt.Title(f"{family.name}, {what}", frame="group")
    dashes = alt.Scale(domain=betas, range=list(DASHES))
    return (
        alt.Chart(alt.Data(values=rows), title=title, width=270, height=150)
        .mark_line(clip=True)
        .encode(
            x=alt.X("x:Q", title="input"),
            y=alt.Y("y:Q", title=None, scale=alt.Scale(domain=list(y)), axis=alt.Axis(tickCount=5)),
            color=alt.Color("β:N", scale=alt.Scale(domain=betas), legend=legend),
            strokeDash=alt.StrokeDash("β:N", scale=dashes, legend=legend),
        )
    )


def loss_surfaces(surfaces: Sequence[Surface]) -> Spec:
    """Return each surface with contour lines, as a Vega specification.

    Vega-Lite has no contours.
    """
    low = min(float(each.loss.min()) for each in surfaces)
    high = max(float(each.loss.max()) for each in surfaces)
    levels = np.linspace(low, high, LEVELS).round(4).tolist()
    fonts = {"labelFont": FONT, "titleFont": FONT, "titleFontWeight": "normal"}
    title = "Loss over two inputs of one random network (an illustration)"
    colours = {"name": "loss", "domain": [low, high], "range": {"scheme": "cividis"}}
    return {
        "background": THEMES["light"].panel,
        "padding": 12,
        "config": {"title": {"font": FONT, "color": THEMES["light"].ink}, "axis": fonts},
        "title": {"text": title, "anchor": "start", "offset": 16},
        "layout": {"columns": len(surfaces), "padding": 16},
        "scales": [colours],
        "marks": [_contours(each, levels) for each in surfaces],
    }


def _contours(surface: Surface, levels: Sequence[float]) -> Spec:
    raster = surface.loss.T[::-1]  # its first row is the top, where the second input is largest
    height, width = raster.shape
    grid = {"width": width, "height": height, "values": raster.ravel().round(4).tolist()}
    contours = {"type": "isocontour", "scale": PANEL / (width - 1), "thresholds": list(levels)}
    across = [float(surface.first[0]), float(surface.first[-1])]
    up = [float(surface.second[0]), float(surface.second[-1])]
    drawn = {
        "fill": {"scale": "loss", "field": "contour.value"},
        "stroke": {"value": "black"},
        "strokeWidth": {"value": 0.3},
    }
    return {
        "type": "group",
        "title": {"text": surface.name, "fontWeight": "normal"},
        "encode": {"update": {"width": {"value": PANEL}, "height": {"value": PANEL}}},
        "data": [{"name": "contours", "values": [grid], "transform": [contours]}],
        "scales": [
            {"name": "x", "domain": across, "range": [0, PANEL]},
            {"name": "y", "domain": up, "range": [PANEL, 0]},
        ],
        "axes": [
            {"scale": "x", "orient": "bottom", "title": "first input", "tickCount": 5},
            {"scale": "y", "orient": "left", "title": "second input", "tickCount": 5},
        ],
        "marks": [
            {
                "type": "path",
                "clip": True,
                "from": {"data": "contours"},
                "encode": {"update": drawn},
                "transform": [{"type": "geopath", "field": "datum.contour"}],
            }
        ],
    }
