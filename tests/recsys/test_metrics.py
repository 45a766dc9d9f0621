"""Accuracy against scikit-learn, and against brute force where it has no counterpart."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from sklearn import metrics as sklearn_metrics

from recsys import metrics
from tests.support.brute import brute_force_auc


@st.composite
def scored_examples(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Labels, coarse probabilities (many ties), weights and groups; group 0 has both labels."""
    length = draw(st.integers(2, 40))
    labels = draw(npst.arrays(np.int64, length, elements=st.integers(0, 1)))
    labels[:2] = 0, 1
    predictions = draw(npst.arrays(np.int64, length, elements=st.integers(1, 9))) / 10
    weights = draw(npst.arrays(np.int64, length, elements=st.integers(1, 5))) / 2
    groups = draw(npst.arrays(np.int64, length, elements=st.integers(-2, 2)))
    groups[:2] = 0
    return labels, predictions, weights, groups


@given(scored_examples())
def test_log_loss_is_scikit_learns(examples):
    labels, predictions, weights, _ = examples
    expected = sklearn_metrics.log_loss(labels, predictions, sample_weight=weights)
    assert metrics.log_loss(labels, predictions, weights) == pytest.approx(expected)


@given(scored_examples())
def test_roc_auc_is_scikit_learns(examples):
    labels, predictions, weights, _ = examples
    expected = sklearn_metrics.roc_auc_score(labels, predictions, sample_weight=weights)
    assert metrics.roc_auc(labels, predictions, weights) == pytest.approx(expected)


@given(scored_examples())
def test_pr_auc_is_scikit_learns_average_precision(examples):
    labels, predictions, weights, _ = examples
    expected = sklearn_metrics.average_precision_score(labels, predictions, sample_weight=weights)
    assert metrics.pr_auc(labels, predictions, weights) == pytest.approx(expected)


@given(scored_examples())
def test_gauc_is_the_impression_weighted_mean_of_brute_force_aucs(examples):
    labels, predictions, weights, groups = examples
    aucs, impressions = [], []
    for group in np.unique(groups):
        inside = groups == group
        if len(np.unique(labels[inside])) == 2:
            aucs.append(brute_force_auc(labels[inside], predictions[inside], weights[inside]))
            impressions.append(weights[inside].sum())
    expected = np.average(aucs, weights=impressions)
    actual = metrics.gauc(labels, predictions, weights, groups=groups)
    assert actual == pytest.approx(expected)


@given(scored_examples())
def test_ranking_loss_is_what_gauc_lacks_to_one(examples):
    labels, predictions, weights, groups = examples
    lost = metrics.ranking_loss(labels, predictions, weights, groups=groups)
    won = metrics.gauc(labels, predictions, weights, groups=groups)
    assert lost + won == pytest.approx(1.0)


@given(scored_examples())
def test_reversing_the_scores_reverses_the_gauc(examples):
    labels, predictions, _, groups = examples
    forward = metrics.gauc(labels, predictions, groups=groups)
    backward = metrics.gauc(labels, -predictions, groups=groups)
    assert forward + backward == pytest.approx(1.0)


@given(scored_examples())
def test_a_weight_of_two_is_the_example_twice(examples):
    labels, predictions, _, groups = examples
    twice = np.r_[np.arange(len(labels)), 0, 1]
    weights = np.ones(len(labels))
    weights[:2] = 2.0
    weighted = metrics.gauc(labels, predictions, weights, groups=groups)
    repeated = metrics.gauc(labels[twice], predictions[twice], groups=groups[twice])
    assert weighted == pytest.approx(repeated)


def test_group_auc_keeps_the_sorted_order_of_group_names():
    labels = [1, 0, 1, 0, 1]
    auc, impressions = metrics.group_auc(
        labels, [0.9, 0.1, 0.2, 0.3, 0.5], groups=["b", "b", "a", "a", "c"]
    )
    np.testing.assert_array_equal(auc, [0.0, 1.0, np.nan])
    np.testing.assert_array_equal(impressions, [2.0, 2.0, 1.0])


def test_predicting_the_base_rate_has_a_normalized_entropy_of_one():
    assert metrics.normalized_entropy([1, 0, 0, 0], [0.25] * 4) == pytest.approx(1.0)


def test_normalized_entropy_takes_its_base_rate_with_the_weights():
    weighted = metrics.normalized_entropy([1, 0], [0.6, 0.3], [1, 3])
    repeated = metrics.normalized_entropy([1, 0, 0, 0], [0.6, 0.3, 0.3, 0.3])
    assert weighted == pytest.approx(repeated)


def test_calibration_is_the_weighted_mean_prediction_over_the_weighted_mean_label():
    assert metrics.calibration([1, 0], [0.5, 0.2], [1, 5]) == pytest.approx(1.5)


def test_log_loss_of_a_saturated_float32_probability_is_finite():
    saturated = np.array([1.0], np.float32)
    expected = -np.log(np.finfo(np.float32).eps)
    assert metrics.log_loss([0], saturated) == pytest.approx(expected)


@pytest.mark.parametrize(
    "undefined",
    [
        metrics.roc_auc([1, 1], [0.2, 0.3]),
        metrics.pr_auc([0, 0], [0.2, 0.3]),
        metrics.gauc([1, 0], [0.2, 0.3], groups=[1, 2]),
        metrics.ranking_loss([1, 0], [0.2, 0.3], groups=[1, 2]),
        metrics.normalized_entropy([1, 1], [0.2, 0.3]),
        metrics.calibration([0, 0], [0.2, 0.3]),
    ],
)
def test_what_the_labels_leave_undefined_is_nan(undefined):
    assert np.isnan(undefined)


@pytest.mark.parametrize(
    ("labels", "predictions", "weights", "message"),
    [
        ([], [], None, "labels is empty"),
        ([0, 2], [0.1, 0.2], None, r"labels\[1\] is 2, expected 0 or 1"),
        ([0, np.nan], [0.1, 0.2], None, r"labels\[1\] is nan"),
        ([0, 1], [0.1, 1.5], None, r"predictions\[1\] is 1.5, expected a probability"),
        ([0, 1], [np.nan, 0.5], None, r"predictions\[0\] is nan"),
        ([0, 1], [0.5], None, r"predictions has shape \(1,\), expected \(2,\)"),
        ([[0, 1]], [0.5], None, r"labels has shape \(1, 2\), expected \(N,\)"),
        ([0, 1], [0.1, 0.2], [1, -1], r"weights\[1\] is -1"),
        ([0, 1], [0.1, 0.2], [0, 0], "weights are all 0"),
        (["a", "b"], [0.1, 0.2], None, "labels holds <U1, expected numbers"),
    ],
)
def test_bad_input_is_named(labels, predictions, weights, message):
    with pytest.raises(ValueError, match=message):
        metrics.log_loss(labels, predictions, weights)


def test_infinite_scores_are_refused_where_any_finite_score_will_do():
    with pytest.raises(ValueError, match=r"predictions\[1\] is inf, expected a finite score"):
        metrics.roc_auc([0, 1], [-30.0, np.inf])


def test_groups_of_another_length_are_refused():
    with pytest.raises(ValueError, match=r"groups has shape \(3,\), expected \(2,\)"):
        metrics.gauc([0, 1], [0.1, 0.2], groups=[1, 1, 2])


def test_the_examples_in_the_documentation_hold():
    failures, run = doctest.testmod(metrics)
    assert (failures, run > 0) == (0, True)
