"""Values against recsys.metrics and the PD functions; influence against what is left out."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from analysis import prediction_difference as pd
from analysis.statistics import estimators, intervals
from recsys import metrics

RNG = np.random.default_rng(5)
GROUPS = RNG.integers(0, 12, 150)
LABELS = RNG.integers(0, 2, 150)
PREDICTIONS = np.round(RNG.uniform(0.05, 0.95, (3, 150)), 2)
SAMPLE = estimators.sample(LABELS, PREDICTIONS, GROUPS)


@pytest.mark.parametrize(
    ("estimator", "metric"),
    [
        (estimators.log_loss, metrics.log_loss),
        (estimators.normalized_entropy, metrics.normalized_entropy),
        (estimators.calibration, metrics.calibration),
        (estimators.roc_auc, metrics.roc_auc),
    ],
)
def test_each_unit_has_the_value_of_the_metric(estimator, metric):
    expected = [metric(LABELS, model) for model in PREDICTIONS]
    np.testing.assert_allclose(estimator(SAMPLE).values, expected)


@pytest.mark.parametrize(
    ("estimator", "metric"),
    [(estimators.gauc, metrics.gauc), (estimators.ranking_loss, metrics.ranking_loss)],
)
def test_each_unit_has_the_value_of_the_grouped_metric(estimator, metric):
    expected = [metric(LABELS, model, groups=GROUPS) for model in PREDICTIONS]
    np.testing.assert_allclose(estimator(SAMPLE).values, expected)


def test_the_mean_over_pairs_is_the_prediction_difference():
    assert estimators.relative_pd(SAMPLE).mean == pytest.approx(pd.relative_pd(PREDICTIONS))
    expected = pd.swap_rate(PREDICTIONS, groups=GROUPS)
    assert estimators.swap_rate(SAMPLE).mean == pytest.approx(expected)


@pytest.mark.parametrize(
    ("estimator", "metric"),
    [
        (estimators.normalized_entropy, metrics.normalized_entropy),
        (estimators.calibration, metrics.calibration),
    ],
)
def test_influence_is_what_the_metric_loses_without_the_group(estimator, metric):
    inside = [group != GROUPS for group in range(12)]
    without = [[metric(LABELS[keep], model[keep]) for keep in inside] for model in PREDICTIONS]
    units = estimator(SAMPLE)
    expected = (units.values[:, None] - np.array(without)) * np.sqrt(11 / 12)
    np.testing.assert_allclose(units.influence, expected, atol=1e-12)


def test_auc_placements_give_the_spread_that_resampling_the_groups_gives():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(120), rng.integers(2, 9, 120))
    effect = rng.normal(size=120)[groups]
    labels = (effect + rng.normal(size=len(groups)) > 0).astype(int)
    scores = 1 / (1 + np.exp(-effect - rng.normal(size=len(groups))))
    units = estimators.roc_auc(estimators.sample(labels, scores[None], groups))
    rows = [np.flatnonzero(groups == group) for group in range(120)]
    resampled = [
        roc_auc_score(labels[drawn], scores[drawn])
        for drawn in (
            np.concatenate([rows[group] for group in rng.integers(0, 120, 120)]) for _ in range(400)
        )
    ]
    error = np.sqrt(np.sum(units.influence**2))
    assert error == pytest.approx(np.std(resampled), rel=0.15)


def test_the_effective_number_of_clusters_counts_equal_groups_fully_and_unequal_ones_less():
    equal = estimators.sample(np.tile([0, 1], 10), PREDICTIONS[:, :20], np.repeat(range(5), 4))
    unequal = estimators.sample(np.tile([0, 1], 10), PREDICTIONS[:, :20], [0] * 16 + [1, 2, 3, 4])
    assert estimators.log_loss(equal).clusters == pytest.approx(5.0)
    assert estimators.log_loss(unequal).clusters < 2.0


@pytest.mark.parametrize(
    ("estimator", "labels", "groups", "models", "reason"),
    [
        (estimators.normalized_entropy, [1, 1], [0, 1], 2, "all labels are the same"),
        (estimators.roc_auc, [1, 1], [0, 1], 2, "all labels are the same"),
        (estimators.calibration, [0, 0], [0, 1], 2, "no label is positive"),
        (estimators.gauc, [0, 1], [0, 1], 2, "no group has both labels"),
        (estimators.ranking_loss, [0, 1], [0, 1], 2, "no group has both labels"),
        (estimators.swap_rate, [0, 1], [0, 1], 2, "no group has two examples"),
        (estimators.relative_pd, [0, 1], [0, 1], 1, "needs at least two replicas"),
        (estimators.swap_rate, [0, 1], [0, 1], 1, "needs at least two replicas"),
    ],
)
def test_what_is_undefined_is_nan_with_the_reason(estimator, labels, groups, models, reason):
    units = estimator(estimators.sample(np.array(labels), PREDICTIONS[:models, :2], groups))
    interval = intervals.estimate(units)
    assert np.isnan([interval.value, interval.low, interval.high]).all()
    assert interval.reason == reason


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("estimator", "labels", "reason"),
    [
        (estimators.normalized_entropy, [1, 1, 0, 0, 0, 0], "all positive labels lie in one group"),
        (estimators.normalized_entropy, [0, 0, 1, 1, 1, 1], "all negative labels lie in one group"),
        (estimators.calibration, [1, 1, 0, 0, 0, 0], "all positive labels lie in one group"),
        (estimators.roc_auc, [1, 0, 0, 0, 0, 0], "all positive labels lie in one group"),
        (estimators.gauc, [1, 0, 0, 0, 1, 1], "only one group has both labels"),
    ],
)
def test_a_metric_that_rests_on_one_of_three_groups_has_a_value_but_no_bounds(
    estimator, labels, reason
):
    found = estimators.sample(np.array(labels), PREDICTIONS[:, :6], np.repeat([0, 1, 2], 2))
    interval = intervals.estimate(estimator(found))
    assert np.isfinite(interval.value)
    assert np.isnan([interval.low, interval.high]).all()
    assert interval.reason.startswith(reason)


@pytest.mark.parametrize(
    ("estimator", "highest"),
    [
        (estimators.roc_auc, 1.0),
        (estimators.gauc, 1.0),
        (estimators.ranking_loss, 1.0),
        (estimators.swap_rate, 1.0),
        (estimators.relative_pd, 2.0),
    ],
)
def test_bounds_lie_within_the_range_of_the_metric(estimator, highest):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        labels, groups = np.tile([0, 1], 4), np.repeat(range(4), 2)
        predictions = np.abs(rng.choice([labels, 1 - labels], 3) - rng.uniform(1e-9, 0.6, (3, 8)))
        units = estimator(estimators.sample(labels, predictions, groups))
        interval = intervals.estimate(units, positive=units.order == 2)
        assert 0.0 <= interval.low <= interval.high <= highest
