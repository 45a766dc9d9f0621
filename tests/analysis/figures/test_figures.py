"""Figures show what they are given, and labels hide nothing; how they look, people judge."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from matplotlib.text import Text

from analysis.figures.calibration import calibration, reliability
from analysis.figures.labels import Label, place_labels
from analysis.figures.plane import accuracy_plane, lookups_plane, pareto_front
from analysis.figures.progress import progress, spread_apart
from analysis.figures.style import blank, looks, save, styled
from analysis.results import Predictions, read_sweep
from analysis.summary import summarize
from tests.support.results import ARMS, SyntheticArm, write_sweep

FINITE = st.floats(-10, 10, allow_nan=False).map(lambda value: round(value, 2))


@pytest.fixture(scope="module")
def summary(tmp_path_factory):
    return summarize(read_sweep(write_sweep(tmp_path_factory.mktemp("sweep"))))


def texts(figure) -> set[str]:
    return {each.get_text() for axes in figure.axes for each in axes.texts}


def legend(figure) -> list[str]:
    return [each.get_text() for each in figure.axes[0].get_legend().get_texts()]


def test_the_accuracy_plane_names_every_arm_and_joins_families_by_beta(summary):
    figure = accuracy_plane(summary)
    assert texts(figure) == {arm.name for arm in ARMS}
    assert "smelu, by β" in legend(figure)
    assert "swish, by β" not in legend(figure)


def test_the_lookups_plane_puts_ticks_at_the_lookups_there_are(summary):
    figure = lookups_plane(summary)
    assert texts(figure) == {arm.name for arm in ARMS}
    assert list(figure.axes[0].get_xticks()) == [7.0, 21.0]


def test_a_plane_with_a_single_arm_does_not_apply(tmp_path):
    write_sweep(tmp_path, (SyntheticArm(name="relu", noise=0.5),))
    assert accuracy_plane(summarize(read_sweep(tmp_path))) is None


def test_progress_draws_the_pd_of_each_arm_at_each_point(summary):
    figure = progress(summary.sweep)
    lines = figure.axes[0].get_lines()
    assert len(lines) == len(ARMS)
    assert all(np.diff(line.get_ydata())[0] < 0 for line in lines)
    assert texts(figure) == {arm.name for arm in ARMS}


def test_progress_does_not_apply_where_nothing_was_watched(tmp_path):
    write_sweep(tmp_path, (SyntheticArm(name="relu", noise=0.5, replicas=1),))
    assert progress(read_sweep(tmp_path)) is None


def test_calibration_has_a_panel_for_each_arm(summary):
    with styled():
        panels = [axes for axes in calibration(summary.sweep).axes if axes.get_visible()]
        assert [axes.get_title(loc="left") for axes in panels] == [arm.name for arm in ARMS]


def test_reliability_compares_predictions_with_labels_of_the_same_examples():
    logits = np.log(np.repeat([0.25, 0.75], 50) / (1 - np.repeat([0.25, 0.75], 50)))
    labels = np.tile([0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0], 13)[:100]
    found = reliability(
        Predictions(
            example=np.arange(100),
            group=np.arange(100),
            labels=labels,
            logits=logits[None],
            replicas=(0,),
        )
    )
    np.testing.assert_allclose(found.predicted[0], np.repeat([0.25, 0.75], 5))
    np.testing.assert_allclose(found.observed[0].mean(), labels.mean())


@given(
    npst.arrays(np.float64, st.integers(1, 12), elements=FINITE),
    st.integers(0, 2**32 - 1),
)
def test_the_pareto_front_holds_exactly_what_nothing_betters(x, seed):
    y = np.random.default_rng(seed).integers(0, 5, len(x)).astype(float)
    front = set(pareto_front(x, y))
    for i in range(len(x)):
        bettered = any(
            (x[j] <= x[i]) and (y[j] <= y[i]) and (x[j] < x[i] or y[j] < y[i])
            for j in range(len(x))
        )
        same = any(x[j] == x[i] and y[j] == y[i] for j in front)
        assert (i in front or same) is not bettered


@given(npst.arrays(np.float64, st.integers(1, 12), elements=FINITE.map(abs)))
def test_names_are_spread_a_gap_apart_in_their_order(places):
    places = np.sort(places)
    spread = spread_apart(places, 0.5)
    assert (np.diff(spread) >= 0.5 - 1e-9).all()
    assert (spread >= 0).all()


def test_names_that_are_far_apart_stay_where_they_are():
    np.testing.assert_allclose(spread_apart(np.array([1.0, 3.0, 9.0]), 0.5), [1.0, 3.0, 9.0])


def test_fifteen_crowded_labels_do_not_overlap():
    figure, axes = blank(7, 5)
    rng = np.random.default_rng(4)
    points = rng.uniform(0, 1, (15, 2)) * [0.4, 0.4] + 0.3
    axes.scatter(*points.T)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    labels = [Label(text=f"arm_number_{n}", x=x, y=y) for n, (x, y) in enumerate(points)]
    place_labels(axes, labels, points)
    figure.canvas.draw()
    boxes = [Text.get_window_extent(each) for each in axes.texts]
    overlapping = [(i, j) for i in range(15) for j in range(i) if boxes[i].overlaps(boxes[j])]
    assert (len(boxes), overlapping) == (15, [])


def test_the_first_seven_series_differ_in_dash_and_marker_not_in_colour_alone():
    found = list(looks([str(number) for number in range(7)]).values())
    assert len({look.dash for look in found}) == 7
    assert len({look.marker for look in found}) == 7


def test_a_figure_is_saved_as_png_and_svg_and_the_same_figure_gives_the_same_files(tmp_path):
    first = [path.read_bytes() for path in save(tmp_path / "a", "empty", blank(2, 2)[0])]
    again = [path.read_bytes() for path in save(tmp_path / "b", "empty", blank(2, 2)[0])]
    assert first == again
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["empty.png", "empty.svg"]
