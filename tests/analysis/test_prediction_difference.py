"""Prediction difference against the definitions spelled out, and the properties it must have."""

from __future__ import annotations

import doctest
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy.stats import kendalltau

from analysis import prediction_difference as pd
from analysis.statistics import rankings
from tests.support.brute import brute_force_overlap, brute_force_swap_rate


@st.composite
def replicas(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predictions (M, N) with ties, zeros and ones among them, weights and groups (N,)."""
    models = draw(st.integers(2, 4))
    length = draw(st.integers(1, 24))
    steps = draw(st.sampled_from([2, 10, 1000]))
    predictions = draw(npst.arrays(np.int64, (models, length), elements=st.integers(0, steps)))
    weights = draw(npst.arrays(np.int64, length, elements=st.integers(1, 5))) / 2
    groups = draw(npst.arrays(np.int64, length, elements=st.integers(-1, 2)))
    return predictions / steps, weights, groups


@given(replicas())
def test_relative_pd_of_two_models_is_the_symmetric_prediction_difference_of_tfma(sample):
    predictions, weights, _ = sample
    p, q = predictions[:2]
    # TFMA: sum_i w_i * 2 |p_i - q_i| / |p_i + q_i| / sum_i w_i, an example of 0/0 adding nothing.
    terms = [2 * abs(a - b) / abs(a + b) if a + b else 0.0 for a, b in zip(p, q, strict=True)]
    expected = np.dot(weights, terms) / weights.sum()
    assert pd.relative_pd(predictions[:2], weights) == pytest.approx(expected)


@given(replicas())
def test_pd_of_many_models_is_the_mean_pd_of_their_pairs(sample):
    predictions, weights, _ = sample
    pairs = [
        [pd.relative_pd(predictions[[i, j]], weights), pd.absolute_pd(predictions[[i, j]], weights)]
        for i, j in combinations(range(len(predictions)), 2)
    ]
    actual = [pd.relative_pd(predictions, weights), pd.absolute_pd(predictions, weights)]
    np.testing.assert_allclose(actual, np.mean(pairs, axis=0), atol=1e-12)


@given(replicas())
def test_mean_deviation_of_two_models_is_half_the_absolute_and_half_the_relative_pd(sample):
    predictions, weights, _ = sample
    two = predictions[:2]
    absolute = pd.mean_deviation_pd(two, weights)
    relative = pd.mean_deviation_pd(two, weights, relative=True)
    assert absolute == pytest.approx(pd.absolute_pd(two, weights) / 2)
    assert relative == pytest.approx(pd.relative_pd(two, weights) / 2)


def test_mean_deviation_of_three_models_by_hand():
    predictions = [[0.2], [0.2], [0.5]]
    assert pd.mean_deviation_pd(predictions) == pytest.approx((0.1 + 0.1 + 0.2) / 3)
    assert pd.mean_deviation_pd(predictions, relative=True) == pytest.approx(0.4 / 3 / 0.3)


def test_logit_pd_of_logits_two_apart_is_two():
    logits = np.array([[-3.0, 0.0, 1.0], [-1.0, 2.0, -1.0]])
    assert pd.logit_pd(1 / (1 + np.exp(-logits))) == pytest.approx(2.0)


def test_churn_counts_a_prediction_at_the_threshold_as_above_it():
    assert pd.label_churn([[0.5, 0.4, 0.6], [0.4, 0.4, 0.5]], threshold=0.5) == pytest.approx(1 / 3)


def test_churn_thresholds_at_the_base_rate_of_the_labels_or_else_of_the_predictions():
    predictions = [[0.2, 0.3, 0.9], [0.3, 0.45, 0.8]]
    assert pd.label_churn(predictions, labels=[0, 0, 1]) == pytest.approx(1 / 3)
    assert pd.label_churn(predictions) == pytest.approx(0.0)


@given(replicas())
def test_swap_rate_is_the_brute_force_count_over_all_pairs(sample):
    predictions, weights, groups = sample
    expected = brute_force_swap_rate(predictions, weights, groups)
    actual = pd.swap_rate(predictions, weights, groups=groups)
    assert actual == pytest.approx(expected, nan_ok=True, abs=1e-12)


def test_swap_rate_is_kendalls_distance_across_many_chunks(monkeypatch):
    monkeypatch.setattr(rankings, "CHUNK", 50)
    rng = np.random.default_rng(7)
    predictions = rng.random((2, 400))
    groups = np.repeat(np.arange(4), 100)
    taus = [kendalltau(*predictions[:, groups == group]).statistic for group in range(4)]
    expected = (1 - np.mean(taus)) / 2
    assert pd.swap_rate(predictions, groups=groups) == pytest.approx(expected)


@given(replicas())
def test_reversing_a_ranking_swaps_every_pair(sample):
    predictions, _, _ = sample
    scores = np.argsort(np.argsort(predictions[0], kind="stable")).astype(float)
    expected = 1.0 if len(scores) > 1 else np.nan
    actual = pd.swap_rate([scores, -scores], groups=np.zeros(len(scores)))
    assert actual == pytest.approx(expected, nan_ok=True)


@given(replicas(), st.integers(1, 5))
def test_top_k_overlap_is_the_brute_force_jaccard(sample, k):
    predictions, _, groups = sample
    expected = brute_force_overlap(predictions, groups, k)
    assert pd.top_k_overlap(predictions, groups=groups, k=k) == pytest.approx(expected)


def test_top_k_overlap_weighs_a_group_by_the_mean_weight_of_its_items():
    predictions = [[0.1, 0.2, 0.1, 0.2], [0.1, 0.2, 0.2, 0.1]]
    overlap = pd.top_k_overlap(predictions, [1, 3, 3, 3], groups=[1, 1, 2, 2], k=1)
    assert overlap == pytest.approx((2 * 1.0 + 3 * 0.0) / 5)


@given(replicas())
def test_equal_models_do_not_differ(sample):
    predictions, weights, groups = sample
    same = np.stack([predictions[0]] * 3)
    forms = (pd.relative_pd, pd.absolute_pd, pd.logit_pd, pd.mean_deviation_pd, pd.label_churn)
    assert [form(same, weights) for form in forms] == pytest.approx([0.0] * len(forms), abs=1e-12)
    assert not pd.swap_rate(same, weights, groups=groups) > 0.0
    assert pd.top_k_overlap(same, weights, groups=groups, k=2) == pytest.approx(1.0)


def test_swap_rate_is_nan_where_no_group_has_two_items():
    assert np.isnan(pd.swap_rate([[0.1, 0.2], [0.2, 0.1]], groups=["a", "b"]))


@pytest.mark.parametrize(
    ("predictions", "weights", "message"),
    [
        ([0.1, 0.2], None, r"predictions has shape \(2,\), expected \(M, N\)"),
        ([[0.1, 0.2]], None, r"shape \(1, 2\), expected \(M, N\) of at least 2 models"),
        ([[0.1], [1.5]], None, r"predictions\[1, 0\] is 1.5, expected a probability"),
        ([[0.1], [np.nan]], None, r"predictions\[1, 0\] is nan"),
        ([[0.1], [0.2]], [1, 1], r"weights has shape \(2,\), expected \(1,\)"),
        ([[0.1], [0.2]], [-1], "weights must be finite and 0 or more"),
    ],
)
def test_bad_input_is_named(predictions, weights, message):
    with pytest.raises(ValueError, match=message):
        pd.relative_pd(predictions, weights)


def test_labels_of_another_length_are_refused():
    with pytest.raises(ValueError, match=r"labels has shape \(2,\), expected \(1,\)"):
        pd.label_churn([[0.1], [0.2]], labels=[0, 1])


def test_the_examples_in_the_documentation_hold():
    failures, run = doctest.testmod(pd)
    assert (failures, run > 0) == (0, True)
