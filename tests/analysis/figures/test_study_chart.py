"""The curve of a study: what is drawn, where, and on which scale."""

from __future__ import annotations

from dataclasses import replace

import pytest

from analysis.figures.render import save
from analysis.figures.study import study_chart
from analysis.results.study import MeasuredPoint, Study
from analysis.results.study_design import StudyDesign, StudyPoint
from analysis.statistics.intervals import Interval, undefined

PD = Interval(value=0.1, low=0.08, high=0.13, replicas=4, covers_replicas=True)


def study_of(*places: tuple[str, str, float | str | None], reference: str = "relu") -> Study:
    """Return a study of arms by name, series and x, all with one PD."""
    points = tuple(
        MeasuredPoint(
            point=StudyPoint(arm=arm, series=series, x=x, reference=None),
            relative_pd=PD,
            log_loss=PD,
            relative_pd_ratio=None,
            log_loss_difference=None,
        )
        for arm, series, x in places
    )
    design = StudyDesign(
        question="Q?", x="beta", reference=reference, points=tuple(each.point for each in points)
    )
    return Study(design=design, points=points, trends={})


SMELU = (("a", "smelu", 0.5), ("b", "smelu", 1.0), ("c", "smelu", 8.0))
RELU = ("relu", "relu", None)


def layers(study: Study) -> list[dict]:
    chart = study_chart(study)
    assert chart is not None
    return chart.to_dict()["layer"]


def rows(layer: dict) -> list[dict]:
    return layer["data"]["values"]


def test_points_have_intervals_and_a_line_for_each_series_and_the_reference_is_a_rule():
    intervals, points, _, rule, name, line = layers(study_of(RELU, *SMELU))
    assert [layer["mark"]["type"] for layer in (intervals, points, rule, name, line)] == [
        "rule",
        "point",
        "rule",
        "text",
        "line",
    ]
    assert (intervals["encoding"]["y"]["field"], intervals["encoding"]["y2"]["field"]) == (
        "low",
        "high",
    )
    for row in rows(points):
        assert (row["low"], row["value"], row["high"]) == pytest.approx((8, 10, 13))
    assert [row["arm"] for row in rows(rule)] == ["relu"]


def test_series_at_one_place_are_drawn_side_by_side_in_the_order_of_the_arms():
    swish = (("d", "swish", 0.5), ("e", "swish", 8.0))
    found = rows(layers(study_of(RELU, *SMELU, *swish))[1])
    places = {row["arm"]: row["x"] for row in found}
    assert places["a"] < 0.5 < places["d"]
    assert places["c"] < 8.0 < places["e"]


def test_an_arm_without_the_field_is_a_rule_across():
    across = layers(study_of(RELU, *SMELU, ("identity", "identity", None)))[2]
    assert [(row["arm"], row["value"]) for row in rows(across)] == [("identity", 10.0)]


@pytest.mark.parametrize(
    ("places", "scale"), [((1.0, 2.0, 16.0), "log"), ((1.0, 2.0), "linear"), ((0.0, 9.0), "linear")]
)
def test_a_wide_range_of_positive_numbers_has_a_logarithmic_axis(places, scale):
    study = study_of(RELU, *((f"arm{place:g}", "smelu", place) for place in places))
    axis = layers(study)[1]["encoding"]["x"]
    assert axis["scale"]["type"] == scale
    assert axis["axis"]["values"] == list(places)


def test_places_of_which_one_is_a_name_are_evenly_spaced():
    study = study_of(("a", "", 0.0), ("b", "", 500.0), ("c", "", "full"), reference="a")
    points = layers(study)[1]
    assert [row["x"] for row in rows(points)] == [0, 1, 2]
    assert points["encoding"]["x"]["axis"]["labelExpr"] == '["0", "500", "full"][datum.value]'


def test_names_without_an_order_are_not_joined_by_a_line():
    found = layers(study_of(("a", "", "init"), ("b", "", "shuffle"), reference="a"))
    assert "line" not in [layer["mark"]["type"] for layer in found]


def test_a_point_without_a_value_is_left_out_and_without_any_there_is_no_figure():
    study = study_of(*SMELU)
    unknown = [replace(each, relative_pd=undefined("none", replicas=0)) for each in study.points]
    some = replace(study, points=(unknown[0], *study.points[1:]))
    assert [row["arm"] for row in rows(layers(some)[1])] == ["b", "c"]
    assert study_chart(replace(study, points=tuple(unknown))) is None


def test_the_chart_is_rendered(tmp_path):
    chart = study_chart(study_of(RELU, *SMELU))
    png, svg = save(chart, tmp_path, "study")
    assert png.stat().st_size > 5_000
    assert "smelu" in svg.read_text(encoding="utf-8")
