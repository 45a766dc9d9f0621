"""A loss over two inputs of a network: the more ridges, the more places to end up in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Surface:
    """The loss ``(P, Q)`` of a network at its inputs ``first`` ``(P,)`` and ``second`` ``(Q,)``."""

    name: str
    first: Floats
    second: Floats
    loss: Floats


def loss_surfaces(surfaces: Sequence[Surface]) -> Figure:
    """Draw each surface in relief and, below it, from above with lines of equal loss."""
    figure = Figure(figsize=(2.3 * len(surfaces), 5.1), layout="constrained")
    figure.suptitle(
        "Loss over two inputs of one random network (an illustration)", x=0.0, ha="left"
    )
    low = min(float(each.loss.min()) for each in surfaces)
    high = max(float(each.loss.max()) for each in surfaces)
    for number, surface in enumerate(surfaces, 1):
        first, second = np.meshgrid(surface.first, surface.second, indexing="ij")
        relief = figure.add_subplot(2, len(surfaces), number, projection="3d")
        relief.plot_surface(
            first,
            second,
            surface.loss,
            cmap="cividis",
            vmin=low,
            vmax=high,
            linewidth=0,
            rcount=120,
            ccount=120,
            antialiased=False,
            rasterized=True,
        )
        relief.set_title(surface.name, loc="center")
        relief.set_zlim(low, high)
        relief.view_init(elev=38, azim=-60)
        relief.set_xticks([])
        relief.set_yticks([])
        relief.set_zticks([])
        above = figure.add_subplot(2, len(surfaces), len(surfaces) + number)
        levels = np.linspace(low, high, 22)
        above.contourf(first, second, surface.loss, levels=levels, cmap="cividis")
        above.contour(first, second, surface.loss, levels=levels, colors="black", linewidths=0.3)
        above.set_aspect("equal")
        above.grid(visible=False)
        above.set_xlabel("first input")
        above.set_ylabel("second input" if number == 1 else "")
        above.tick_params(labelsize=7)
    return figure
