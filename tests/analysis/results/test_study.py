"""A study's numbers against definitions, and what it reads from them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.errors import ResultsError
from analysis.prediction_difference import relative_pd
from analysis.results.reading import read_sweep
from analysis.results.study import (
    AdjustedTest,
    MeasuredPoint,
    Outcome,
    Study,
    as_markdown,
    measure_study,
    reading,
    slope,
    table,
)
from analysis.results.study_design import StudyDesign, StudyPoint
from analysis.results.summary import Estimates
from analysis.statistics import intervals
from analysis.statistics.intervals import Comparison, Interval, Units
from recsys import metrics
from tests.support.results import SyntheticArm, write_sweep
from tests.support.studies import BETAS, arm_name, beta_arms, beta_design


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return write_sweep(tmp_path_factory.mktemp("study"), beta_arms(), study=beta_design(), seed=2)


@pytest.fixture(scope="module")
def found(directory):
    return measure_study(read_sweep(directory))


def predictions(directory, arm: str) -> tuple[np.ndarray, np.ndarray]:
    trials = [
        pd.read_parquet(directory / f"trials/{arm}{number}/predictions.parquet")
        for number in range(4)
    ]
    logits = np.array([trial["logit"].to_numpy("f8") for trial in trials])
    return trials[0]["label"].to_numpy("f8"), 1 / (1 + np.exp(-logits))


def by_arm(study: Study) -> dict[str, MeasuredPoint]:
    return {each.point.arm: each for each in study.points}


def test_points_are_compared_with_their_reference_by_definition(directory, found):
    labels, relu = predictions(directory, "relu")
    relu_loss = np.mean([metrics.log_loss(labels, model) for model in relu])
    for name in ("smelu_2", "swish_0_5"):
        _, models = predictions(directory, name)
        point = by_arm(found)[name]
        pd_of_arm = relative_pd(models)
        loss = np.mean([metrics.log_loss(labels, model) for model in models])
        assert point.relative_pd.value == pytest.approx(pd_of_arm)
        assert point.relative_pd_ratio.comparison.interval.value == pytest.approx(
            pd_of_arm / relative_pd(relu)
        )
        assert point.log_loss_difference.comparison.interval.value == pytest.approx(
            loss - relu_loss
        )


def test_p_values_are_adjusted_over_the_comparisons_of_a_study(found):
    points = [each for each in found.points if each.relative_pd_ratio]
    raw = np.array([each.relative_pd_ratio.comparison.p_value for each in points])
    adjusted = np.array([each.relative_pd_ratio.p_value for each in points])
    order = np.argsort(raw)
    expected = [
        min(1.0, max((6 - place) * raw[order[place]] for place in range(rank + 1)))
        for rank in range(6)
    ]
    np.testing.assert_allclose(adjusted[order], expected)


def test_a_trend_is_the_least_squares_slope_of_log_pd_on_log_x(directory, found):
    pds = [relative_pd(predictions(directory, arm_name("smelu", beta))[1]) for beta in BETAS]
    expected, _ = np.polyfit(np.log(BETAS), np.log(pds), 1)
    assert found.trends["smelu"].comparison.interval.value == pytest.approx(expected)
    assert found.trends["smelu"].outcome is Outcome.LOWER
    assert found.trends["swish"].outcome is Outcome.OPEN


def test_a_fall_with_beta_is_read_and_no_difference_is_read_as_such(found):
    of_pd, _, trend = reading(found)
    assert "significantly lower for smelu at 1 and 2; not significantly different" in of_pd
    assert "a significant fall with activation.beta for smelu; no significant trend" in trend


def test_fewer_than_three_replicas_test_nothing(tmp_path):
    write_sweep(tmp_path, beta_arms(replicas=2), study=beta_design())
    found = measure_study(read_sweep(tmp_path))
    assert reading(found) == (
        "PD not tested: smelu at 0.5, 1 and 2, swish at 0.5, 1 and 2 (fewer than 3 replicas of an"
        " arm).",
    )


def test_an_arm_that_is_not_finished_says_so_and_the_others_are_read(tmp_path):
    arms = beta_arms()
    unfinished = SyntheticArm(name="swish_2", noise=0.8, unfinished=(0, 1, 2, 3))
    write_sweep(tmp_path, (*arms[:-1], unfinished), study=beta_design())
    *_, untested = reading(measure_study(read_sweep(tmp_path)))
    assert untested == "PD not tested: swish at 2 (no trial is finished)."


def test_models_that_are_the_same_have_no_ratio_and_no_trend(tmp_path):
    arms = [SyntheticArm(name="relu", noise=0.8)]
    arms += [SyntheticArm(name=arm_name("smelu", beta), noise=0.0) for beta in BETAS]
    design = StudyDesign(
        question="Q?",
        x="x",
        reference="smelu_1",
        points=tuple(
            StudyPoint(arm=arm.name, series="", x=float(number), reference="smelu_1")
            for number, arm in enumerate(arms)
        ),
    )
    found = measure_study(read_sweep(write_sweep(tmp_path, tuple(arms), study=design)))
    assert "(the baseline's is 0)" in reading(found)[-1]
    assert found.trends == {}


def test_a_sweep_without_a_study_has_none(tmp_path):
    assert measure_study(read_sweep(write_sweep(tmp_path))) is None


def test_a_study_of_an_arm_that_does_not_exist_is_refused(tmp_path):
    write_sweep(tmp_path, study=beta_design())
    with pytest.raises(ResultsError, match=r"names the arm 'smelu_0_5', expected one of relu"):
        measure_study(read_sweep(tmp_path))


def test_the_table_has_a_row_a_point_and_nothing_where_nothing_is_compared(found):
    headings, first, *rows = table(found)
    assert (headings[1], headings[4]) == ("activation.beta", "ratio to relu")
    assert (first[:3], first[4:6]) == (("relu", "", "4"), ("", ""))
    assert [row[:2] for row in rows] == [
        (series, beta) for series in ("smelu", "swish") for beta in ("0.5", "1", "2")
    ]
    assert all(len(row) == len(headings) for row in rows)


def test_the_document_has_question_figure_table_reading_and_command(found):
    text = as_markdown(found, figure="beta.png", command="soloist sweep beta")
    assert text.startswith("## Is smoother better?\n\n![Is smoother better?](beta.png)\n\n| series")
    assert text.count("\n|") == 9
    assert " ".join(reading(found)) in text
    assert text.endswith("Made by `soloist sweep beta`.")


def adjusted(value: float, p_value: float, none: float, *, half: float = 0.1) -> AdjustedTest:
    interval = Interval(
        value=value, low=value - half, high=value + half, replicas=4, covers_replicas=True
    )
    comparison = Comparison(interval=interval, settled=False, more_replicas=None, p_value=p_value)
    return AdjustedTest(comparison=comparison, p_value=p_value, none=none)


def study_of(*ratios: AdjustedTest | None, series: str = "smelu", reference: str = "relu") -> Study:
    value = intervals.undefined("", replicas=4, value=0.1)
    points = [
        MeasuredPoint(
            point=StudyPoint(
                arm=f"arm_{number}",
                series=series,
                x=float(number),
                reference=None if ratio is None else reference,
            ),
            relative_pd=value,
            log_loss=value,
            relative_pd_ratio=ratio,
            log_loss_difference=None if ratio is None else adjusted(-0.01, 1.0, 0.0, half=0.02),
        )
        for number, ratio in enumerate(ratios, 1)
    ]
    design = StudyDesign(
        question="Q?", x="beta", reference="relu", points=tuple(each.point for each in points)
    )
    return Study(design=design, points=tuple(points), trends={})


@pytest.mark.parametrize(
    ("study", "sentence"),
    [
        (
            study_of(adjusted(0.8, 0.049, 1.0), adjusted(0.7, 0.001, 1.0)),
            "over 2 comparisons: significantly lower for smelu at 1 and 2.",
        ),
        (
            study_of(adjusted(0.8, 0.01, 1.0), adjusted(1.3, 0.01, 1.0), adjusted(0.9, 0.06, 1.0)),
            "over 3 comparisons: significantly lower for smelu at 1; significantly higher for smelu"
            " at 2; not significantly different for the other 1 of 3, whose unadjusted 95 %"
            " intervals allow ratios between 0.80 and 1.00.",
        ),
        (
            study_of(adjusted(0.8, 0.2, 1.0), series=""),
            "over 1 comparison: not significantly different for any of 1, whose unadjusted 95 %"
            " intervals allow ratios between 0.70 and 0.90.",
        ),
        (
            study_of(adjusted(1.3, 0.01, 1.0), series=""),
            "over 1 comparison: significantly higher for 1.",
        ),
    ],
)
def test_the_reading_says_what_the_tests_say(study, sentence):
    of_pd, of_loss, *rest = reading(study)
    assert of_pd == f"Relative PD compared with relu, at 5 % after Holm's correction {sentence}"
    assert "intervals allow differences between −0.0300 and 0.0100." in of_loss
    assert rest == []


def test_a_reference_that_is_a_series_is_named_with_its_place():
    study = study_of(adjusted(0.8, 0.01, 1.0), None, reference="relu_1")
    of_pd, _, untested = reading(study)
    assert of_pd.startswith("Relative PD compared with relu at the same beta, at 5 %")
    assert untested == "PD not tested: smelu at 2 (relu has no arm there)."


def flat(rng: np.random.Generator, shared: np.ndarray) -> Estimates:
    """Return an arm whose PD is that of every other, but for its replicas' own share."""
    models = len(shared)
    first, second = np.triu_indices(models, 1)
    each = shared + rng.normal(scale=0.05, size=models)
    noise = rng.normal(scale=0.02, size=len(first))
    units = Units(
        values=0.1 * (1 + each[first] + each[second] + noise),
        influence=rng.normal(scale=1e-4, size=(len(first), 60)),
        replicas=tuple(range(models)),
        order=2,
        clusters=60.0,
    )
    return Estimates(log_loss=units, ranking_loss=units, relative_pd=units)


@pytest.mark.parametrize("replicas", [3, 8])
def test_a_trend_is_found_in_a_flat_series_once_in_twenty(replicas):
    rng = np.random.default_rng(0)
    points = [
        StudyPoint(arm=str(number), series="", x=2.0**number, reference=None) for number in range(4)
    ]
    rejected = []
    for _ in range(500):
        shared = rng.normal(scale=0.05, size=replicas)
        rejected.append(slope(points, [flat(rng, shared) for _ in points]).p_value < 0.05)
    assert 0.02 <= np.mean(rejected) <= 0.08
