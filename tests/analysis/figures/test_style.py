"""Colours that must be told from what lies behind them are."""

from __future__ import annotations

import pytest

from analysis.figures.style import COLOURS, contrasting
from analysis.page.theme import GRAPHIC_CONTRAST, TEXT_CONTRAST, THEMES


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of WCAG 2.2, written down from its definition."""

    def luminance(colour: str) -> float:
        channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    first, second = luminance(one), luminance(other)
    return (max(first, second) + 0.05) / (min(first, second) + 0.05)


def test_black_on_white_is_the_largest_contrast_and_a_colour_on_itself_the_least():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#777777") == 1


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("background", ["#ffffff", "#181c20"])
def test_a_colour_is_moved_until_it_stands_out_and_no_further(colour, background):
    found = contrasting(colour, background, 3.0)

    assert contrast(found, background) >= 3.0
    assert found == colour.lower() or contrast(found, background) < 3.25


def test_a_contrast_that_no_colour_has_is_refused():
    with pytest.raises(ValueError, match="nothing contrasts 22:1 with #ffffff"):
        contrasting("#000000", "#ffffff", 22)


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_the_page_s_text_and_lines_can_be_told_from_what_lies_behind_them(theme):
    for ground in (theme.panel, theme.paper):
        for text in (theme.ink, theme.muted, theme.link, theme.better, theme.worse):
            assert contrast(text, ground) >= TEXT_CONTRAST
    assert len(set(theme.series)) == len(COLOURS)
    for line in theme.series:
        assert contrast(line, theme.panel) >= GRAPHIC_CONTRAST
