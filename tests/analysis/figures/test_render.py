"""One specification becomes PNG, SVG and a chart of the page; colours have enough contrast."""

from __future__ import annotations

import altair as alt
import pytest

from analysis.figures.render import (
    COLOURS,
    DASHES,
    GRAPHIC_CONTRAST,
    MARKERS,
    TEXT_CONTRAST,
    THEMES,
    by_series,
    contrasting,
    embed,
    save,
)


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


def a_chart(title: str = "title") -> alt.TopLevelMixin:
    rows = [{"arm": "a", "x": 1, "y": 2}, {"arm": "b", "x": 2, "y": 1}]
    look = by_series("arm", ["a", "b"], legend=None)
    lines = alt.Chart(alt.Data(values=rows), title=title).mark_line(point=True)
    return lines.encode(x="x:Q", y="y:Q", **look)


def test_the_first_seven_series_differ_in_dash_and_marker_not_in_colour_alone():
    assert len({str(dash) for dash in DASHES}) == 7
    assert len(set(MARKERS[:7])) == 7
    assert len(set(COLOURS)) == 7


def test_a_figure_is_saved_as_png_and_svg_and_the_same_figure_gives_the_same_files(tmp_path):
    first = [path.read_bytes() for path in save(a_chart(), tmp_path / "a", "one")]
    again = [path.read_bytes() for path in save(a_chart(), tmp_path / "b", "one")]

    assert first == again
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["one.png", "one.svg"]
    assert first[0].startswith(b"\x89PNG")
    assert first[1].startswith(b"<svg")


def test_a_saved_figure_has_the_colours_of_the_light_theme_and_its_title(tmp_path):
    _, svg = save(a_chart("<arm> & arm"), tmp_path, "one")

    text = svg.read_text(encoding="utf-8")
    assert THEMES["light"].series[1] in text
    assert "&lt;arm&gt; &amp; arm" in text


def test_a_chart_of_the_page_holds_no_colours_and_no_title():
    spec = embed(a_chart())

    assert not {"config", "title", "$schema"} & set(spec)
    assert "#" not in str(spec)
