"""The page's colours, light and dark: those of the figures, moved until they can be told apart."""

from __future__ import annotations

from dataclasses import dataclass

from analysis.figures.style import COLOURS, contrasting

#: WCAG 2.2: text (1.4.3), and lines and markers (1.4.11), against what lies behind them.
TEXT_CONTRAST = 4.5
GRAPHIC_CONTRAST = 3.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Theme:
    """``series`` are the figures' colours in their order; ``muted`` is for text that is aside."""

    paper: str
    panel: str
    ink: str
    muted: str
    grid: str
    link: str
    better: str
    worse: str
    series: tuple[str, ...]

    def tokens(self) -> dict[str, str]:
        """Return the colour of each name that a chart's ``@NAME`` may have."""
        named = {"ink": self.ink, "muted": self.muted, "grid": self.grid, "panel": self.panel}
        return named | {str(number): colour for number, colour in enumerate(self.series)}


def _theme(paper: str, panel: str, ink: str, grid: str, lines: float) -> Theme:
    _, blue, red, green, *_ = COLOURS
    #: Figures are drawn on white and begin with black: here it is the colour of the text.
    series = (ink, *(contrasting(each, panel, lines) for each in COLOURS[1:]))
    return Theme(
        paper=paper,
        panel=panel,
        ink=ink,
        muted=contrasting("#777777", panel, TEXT_CONTRAST + 1),
        grid=grid,
        link=contrasting(blue, panel, TEXT_CONTRAST + 0.5),
        better=contrasting(green, panel, TEXT_CONTRAST + 0.5),
        worse=contrasting(red, panel, TEXT_CONTRAST + 0.5),
        series=series,
    )


THEMES = {
    "light": _theme(
        paper="#f6f7f8", panel="#ffffff", ink="#16191d", grid="#dfe3e7", lines=GRAPHIC_CONTRAST
    ),
    # Thin lines on black look darker than their colour is.
    "dark": _theme(
        paper="#101316", panel="#181c20", ink="#e9ecef", grid="#353c43", lines=TEXT_CONTRAST
    ),
}
