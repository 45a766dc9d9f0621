"""One style for all figures: told apart by marker and dash first, by colour second."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.writing import write_whole

#: Okabe and Ito's colours, told apart by the colour-blind; dark ones first, for print in grey.
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
Dash = str | tuple[int, tuple[int, ...]]
DASHES: tuple[Dash, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 1)))
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "<", ">", "*")
GREY = "#777777"
PALE = "#CCCCCC"
DOTS_PER_INCH = 160

_SETTINGS: dict[Any, Any] = {
    "figure.dpi": DOTS_PER_INCH,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E8E8E8",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.4,
    "lines.markersize": 6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    # Names in the file would otherwise change from run to run.
    "svg.hashsalt": "soloist",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """How one series is drawn; the first seven have colours and dashes of their own."""

    colour: str
    dash: Dash
    marker: str


def looks(names: Sequence[str]) -> dict[str, Look]:
    """Return a look for each name, the same for the same names in the same order."""
    unique = list(dict.fromkeys(names))
    return {
        name: Look(colour=colour, dash=dash, marker=marker)
        for name, colour, dash, marker in zip(
            unique, cycle(COLOURS), cycle(DASHES), cycle(MARKERS), strict=False
        )
    }


def contrasting(colour: str, background: str, least: float) -> str:
    """Return a colour as it is, or moved away from a background until it stands out from it.

    ``#rrggbb`` each; ``least`` is the contrast ratio of WCAG 2.2, from 1 to 21, of which 3 is asked
    for lines and markers and 4.5 for text.
    """
    away = 0.0 if _luminance(background) > 0.5 else 1.0
    ground, first = _luminance(background), _channels(colour)
    for step in range(101):
        moved = [round(255 * (each + (away - each) * step / 100)) for each in first]
        found = "#" + "".join(f"{each:02x}" for each in moved)
        lighter, darker = sorted((_luminance(found), ground), reverse=True)
        if (lighter + 0.05) / (darker + 0.05) >= least:
            return found
    raise ValueError(f"nothing contrasts {least}:1 with {background}")


def _channels(colour: str) -> list[float]:
    return [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]


def _luminance(colour: str) -> float:
    linear = [
        each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4
        for each in _channels(colour)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@contextmanager
def styled() -> Iterator[None]:
    """Draw in the house's style within the block, and leave matplotlib as it was."""
    with mpl.rc_context(_SETTINGS):
        yield


def save(directory: Path, name: str, figure: Figure) -> list[Path]:
    """Write a figure that was drawn ``styled`` as NAME.png and NAME.svg; return their paths."""
    with styled():
        png = save_png(directory, name, figure)
        # The layout is settled by now, and settling it takes longer than drawing.
        figure.set_layout_engine("none")
        return [png, write_whole(directory / f"{name}.svg", partial(_write, figure, "svg"))]


def save_png(directory: Path, name: str, figure: Figure) -> Path:
    """Write a figure that was drawn ``styled`` as NAME.png alone; return its path."""
    with styled():
        return write_whole(directory / f"{name}.png", partial(_write, figure, "png"))


def blank(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure of one pair of axes, in inches, apart from pyplot's global state."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def _write(figure: Figure, kind: str, path: Path) -> None:
    # Without the date and the version the same results give the same file.
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    figure.savefig(path, format=kind, metadata=metadata)
