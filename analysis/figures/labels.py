"""Names beside points, placed so that they hide neither each other nor what is drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation
from numpy.typing import NDArray

from analysis.figures.style import GREY

Floats = NDArray[np.float64]

#: Distances to try, in points; from the third on a thin line leads back to the point.
DISTANCES = (6.0, 11.0, 18.0, 27.0, 38.0, 52.0, 70.0)
LEADER_FROM = 18.0
ANGLES = np.deg2rad(np.arange(0, 360, 15))
ROUNDS = 4
MARKER_RADIUS = 4.0
#: What a label may cover, dearest first; areas and distances are in pixels of the drawing.
COST_OF_LABEL, COST_OF_MARK, COST_OUTSIDE, COST_OF_DISTANCE = 20.0, 25.0, 60.0, 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Label:
    """A text for the point ``(x, y)`` in data coordinates."""

    text: str
    x: float
    y: float
    colour: str = "black"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Spot:
    """A place for a text: its offset in points and its box ``(x0, y0, x1, y1)`` in pixels."""

    dx: float
    dy: float
    box: Floats
    distance: float


def place_labels(axes: Axes, labels: Sequence[Label], marks: Floats, *, size: float = 7.5) -> None:
    """Write ``labels`` beside their points; ``marks`` ``(P, 2)`` are data points not to cover.

    Each label in turn takes the cheapest spot given where the others are, a few rounds long.
    """
    if not labels:
        return
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    scale = figure.dpi / 72.0
    anchors = axes.transData.transform(np.array([(each.x, each.y) for each in labels]))
    drawn = np.concatenate([axes.transData.transform(marks), _rims(anchors, scale)])
    bounds = np.array(axes.get_window_extent().extents)
    spots = [
        list(_spots(anchor, _extent(axes, label, size), scale))
        for anchor, label in zip(anchors, labels, strict=True)
    ]
    taken = [each[0] for each in spots]
    for _ in range(ROUNDS):
        for number, choices in enumerate(spots):
            others = np.array([spot.box for i, spot in enumerate(taken) if i != number])
            costs = [_cost(spot, others, drawn, bounds) for spot in choices]
            taken[number] = choices[int(np.argmin(costs))]
    for label, spot in zip(labels, taken, strict=True):
        _write(axes, label, spot, size)


def _write(axes: Axes, label: Label, spot: _Spot, size: float) -> Annotation:
    leads = spot.distance >= LEADER_FROM
    arrow = {"arrowstyle": "-", "color": GREY, "lw": 0.5, "shrinkA": 0, "shrinkB": 3}
    return axes.annotate(
        label.text,
        (label.x, label.y),
        xytext=(spot.dx, spot.dy),
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=size,
        color=label.colour,
        arrowprops=arrow if leads else None,
        zorder=5,
        path_effects=[withStroke(linewidth=2, foreground="white")],
    )


def _rims(anchors: Floats, scale: float) -> Floats:
    """Return pixels around each point's marker, ``(16 * P, 2)``: a label keeps clear of these."""
    ring = np.deg2rad(np.arange(0, 360, 45))
    offsets = np.column_stack([np.cos(ring), np.sin(ring)]) * MARKER_RADIUS * scale
    rims = (anchors[:, None, :] + offsets).reshape(-1, 2)
    return np.concatenate([rims, rims])


def _extent(axes: Axes, label: Label, size: float) -> Floats:
    """Return width and height of a text in pixels."""
    text = axes.text(label.x, label.y, label.text, fontsize=size)
    box = text.get_window_extent()
    text.remove()
    return np.array([box.width, box.height])


def _spots(anchor: Floats, extent: Floats, scale: float) -> Iterator[_Spot]:
    for distance, angle in product(DISTANCES, ANGLES):
        direction = np.array([np.cos(angle), np.sin(angle)])
        # The text's near edge, not its middle, lies at the distance.
        centre = direction * distance * scale + np.sign(np.round(direction, 6)) * extent / 2 * (
            np.abs(direction) > 0.3
        )
        corner = anchor + centre - extent / 2
        yield _Spot(
            dx=float(centre[0] / scale),
            dy=float(centre[1] / scale),
            box=np.concatenate([corner - 1.5 * scale, corner + extent + 1.5 * scale]),
            distance=distance,
        )


def _cost(spot: _Spot, others: Floats, marks: Floats, bounds: Floats) -> float:
    box = spot.box
    covered = np.all((marks >= box[:2]) & (marks <= box[2:]), axis=1).sum()
    outside = np.maximum(bounds[:2] - box[:2], 0).sum() + np.maximum(box[2:] - bounds[2:], 0).sum()
    overlap = 0.0
    if len(others):
        low = np.maximum(others[:, :2], box[:2])
        high = np.minimum(others[:, 2:], box[2:])
        overlap = float(np.prod(np.maximum(high - low, 0.0), axis=1).sum())
    return float(
        COST_OF_LABEL * overlap
        + COST_OF_MARK * covered
        + COST_OUTSIDE * outside
        + COST_OF_DISTANCE * spot.distance
    )
