"""Figures show what they are given, and labels hide nothing; how they look, people judge."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from analysis.figures.calibration import calibration, reliability
from analysis.figures.figure import Absent, label_sizes, place_labels
from analysis.figures.learning_curves import pd_progress
from analysis.figures.render import HEIGHT, WIDTH, embed
from analysis.figures.tradeoff_plots import (
    accuracy_points,
    families,
    pareto_front,
    pd_accuracy,
    pd_lookups,
)
from analysis.results.reading import Predictions, read_sweep
from analysis.results.summary import summarize
from tests.support.results import ARMS, SyntheticArm, write_sweep

FINITE = st.floats(-10, 10, allow_nan=False).map(lambda value: round(value, 2))


@pytest.fixture(scope="module")
def summary(tmp_path_factory):
    return summarize(read_sweep(write_sweep(tmp_path_factory.mktemp("sweep"))))


def rows(figure, *fields: str) -> list[dict]:
    """Return the rows of a chart's data that have all of some fields."""
    found: list[dict] = []

    def collect(part):
        for key, value in part.items() if isinstance(part, dict) else enumerate(part):
            if key == "values" and isinstance(value, list):
                found.extend(each for each in value if isinstance(each, dict))
            elif isinstance(value, dict | list):
                collect(value)

    collect(embed(figure.chart))
    return [each for each in found if all(field in each for field in fields)]


def labels(figure) -> set[str]:
    return {each["arm"] for each in rows(figure, "dx")}


def test_the_accuracy_plot_names_every_arm_and_joins_families_by_beta(summary):
    figure = pd_accuracy(summary)
    joined = [[each.name for each in family] for family in families(accuracy_points(summary))]
    assert labels(figure) == {arm.name for arm in ARMS}
    assert joined == [["smelu_half", "smelu_1"]]
    assert len(rows(figure, "step")) >= 3


def test_the_lookups_plot_puts_ticks_at_the_lookups_there_are(summary):
    figure = pd_lookups(summary)
    assert labels(figure) == {arm.name for arm in ARMS}
    assert "'values': [7.0, 21.0]" in str(embed(figure.chart))


def test_a_trade_off_plot_of_a_single_arm_does_not_apply(tmp_path):
    write_sweep(tmp_path, (SyntheticArm(name="relu", noise=0.5),))
    figure = pd_accuracy(summarize(read_sweep(tmp_path)))
    assert figure == Absent(
        title="Prediction difference and accuracy",
        reason="fewer than two arms have two finished replicas",
    )


def test_progress_draws_the_pd_of_each_arm_at_each_point(summary):
    drawn = rows(pd_progress(summary.sweep), "tip")
    for arm in ARMS:
        line = [each["y"] for each in drawn if each["arm"] == arm.name]
        assert len(line) >= 3
        assert line[0] > line[1]
    assert {each["arm"] for each in drawn} == {arm.name for arm in ARMS}


def test_progress_does_not_apply_where_no_predictions_were_kept(tmp_path):
    write_sweep(tmp_path, (SyntheticArm(name="relu", noise=0.5, replicas=1),))
    assert isinstance(pd_progress(read_sweep(tmp_path)), Absent)


def test_calibration_has_a_panel_for_each_arm(summary):
    spec = embed(calibration(summary.sweep).chart)
    assert spec["facet"]["field"] == "arm"
    assert spec["facet"]["sort"] == [arm.name for arm in ARMS]


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


def test_fifteen_crowded_labels_do_not_overlap():
    rng = np.random.default_rng(4)
    points = (rng.uniform(0, 1, (15, 2)) * [0.4, 0.4] + 0.3) * [WIDTH, HEIGHT]
    texts = [f"arm_number_{n}" for n in range(15)]

    offsets = place_labels(texts, points, points, np.array([WIDTH, HEIGHT]))

    centres, sizes = points + offsets, label_sizes(texts)
    gaps = np.abs(centres[:, None] - centres) - (sizes[:, None] + sizes) / 2
    overlapping = np.argwhere((gaps < 0).all(axis=2) & ~np.eye(15, dtype=bool))
    assert overlapping.tolist() == []
    assert (centres - sizes / 2 >= 0).all()
    assert (centres + sizes / 2 <= [WIDTH, HEIGHT]).all()


def test_a_label_covers_no_mark_where_there_is_room():
    anchors = np.array([[300.0, 200.0]])
    marks = np.array([[320.0, 200.0], [340.0, 200.0]])

    (offset,) = place_labels(["an_arm"], anchors, marks, np.array([WIDTH, HEIGHT]))

    (size,) = label_sizes(["an_arm"])
    assert not (np.abs(marks - anchors - offset) <= size / 2).all(axis=1).any()
