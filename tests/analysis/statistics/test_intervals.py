"""Intervals against textbook ones where there is one, and against simulated truth elsewhere."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from analysis.prediction_difference import relative_pd
from analysis.statistics import estimators, intervals
from analysis.statistics.intervals import Units
from jobs.benchmark.coverage import WORLDS, simulate, true_values


def predictions_of(models: int, examples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.05, 0.95, (models, examples))


def one_each(predictions: np.ndarray, seed: int = 1) -> estimators.Sample:
    """Return a sample whose examples are groups of their own."""
    examples = predictions.shape[1]
    labels = np.random.default_rng(seed).integers(0, 2, examples)
    return estimators.sample(labels, predictions, np.arange(examples))


def test_one_model_on_independent_examples_has_the_t_interval_of_a_mean():
    sample = one_each(predictions_of(1, 50))
    losses = -np.log(np.where(sample.labels == 1, sample.predictions, 1 - sample.predictions))[0]
    expected = stats.ttest_1samp(losses, 0.0).confidence_interval()
    actual = intervals.estimate(estimators.log_loss(sample))
    assert (actual.low, actual.high) == pytest.approx((expected.low, expected.high))


def test_two_models_on_the_same_examples_have_the_paired_t_interval():
    predictions = predictions_of(2, 50)
    first, second = (one_each(model[None]) for model in predictions)
    losses = [
        -np.log(np.where(each.labels == 1, each.predictions, 1 - each.predictions))[0]
        for each in (first, second)
    ]
    expected = stats.ttest_rel(*losses).confidence_interval()
    actual = intervals.difference(estimators.log_loss(first), estimators.log_loss(second)).interval
    assert (actual.low, actual.high) == pytest.approx((expected.low, expected.high))


def test_replicas_on_examples_that_are_all_alike_have_the_t_interval_over_replicas():
    values = np.array([0.2, 0.25, 0.3, 0.28])
    units = Units(
        values=values, influence=np.zeros((4, 5)), replicas=(0, 1, 2, 3), order=1, clusters=5.0
    )
    expected = stats.ttest_1samp(values, 0.0).confidence_interval()
    actual = intervals.estimate(units)
    assert (actual.low, actual.high) == pytest.approx((expected.low, expected.high))


def test_replicas_that_share_numbers_are_compared_in_pairs():
    values = np.array([[0.2, 0.25, 0.3, 0.28], [0.1, 0.16, 0.19, 0.19]])
    first, second = (
        Units(values=v, influence=np.zeros((4, 5)), replicas=(0, 1, 2, 3), order=1, clusters=5.0)
        for v in values
    )
    expected = stats.ttest_rel(*values).confidence_interval()
    actual = intervals.difference(first, second).interval
    assert (actual.low, actual.high) == pytest.approx((expected.low, expected.high))


def test_a_missing_replica_leaves_the_others_paired():
    first = Units(
        values=np.array([1.0, 2.0, 3.0]),
        influence=np.zeros((3, 5)),
        replicas=(0, 2, 3),
        order=1,
        clusters=5.0,
    )
    second = Units(
        values=np.array([1.0, 9.0, 2.0, 3.0]),
        influence=np.zeros((4, 5)),
        replicas=(0, 1, 2, 3),
        order=1,
        clusters=5.0,
    )
    alone = intervals.difference(first, second).interval
    renumbered = Units(
        values=first.values, influence=first.influence, replicas=(5, 6, 7), order=1, clusters=5.0
    )
    unpaired = intervals.difference(renumbered, second).interval
    assert alone.high - alone.low < unpaired.high - unpaired.low


def test_the_spread_of_a_pd_over_replicas_is_the_jackknife_of_its_mean_over_pairs():
    predictions = predictions_of(5, 40)
    units = estimators.relative_pd(one_each(predictions))
    frozen = Units(
        values=units.values,
        influence=np.zeros_like(units.influence),
        replicas=units.replicas,
        order=2,
        clusters=units.clusters,
    )
    left_out = [relative_pd(np.delete(predictions, model, axis=0)) for model in range(5)]
    variance = 4 / 5 * np.sum((np.array(left_out) - np.mean(left_out)) ** 2)
    half = stats.t.ppf(0.975, 4) * math.sqrt(variance)
    actual = intervals.estimate(frozen)
    assert actual.high - actual.value == pytest.approx(half)


def test_influence_is_the_delete_one_group_jackknife():
    predictions = predictions_of(3, 60)
    groups = np.random.default_rng(2).integers(0, 7, 60)
    labels = np.random.default_rng(3).integers(0, 2, 60)
    units = estimators.relative_pd(estimators.sample(labels, predictions, groups))
    without = [
        [relative_pd(predictions[[i, j]][:, groups != g]) for g in range(7)]
        for i, j in combinations(range(3), 2)
    ]
    expected = (units.values[:, None] - np.array(without)) * math.sqrt(6 / 7)
    np.testing.assert_allclose(units.influence, expected, atol=1e-12)


def test_equal_arms_have_a_ratio_of_exactly_one():
    units = estimators.relative_pd(one_each(predictions_of(4, 30)))
    ratio = intervals.ratio(units, units)
    assert (ratio.interval.low, ratio.interval.high) == (1.0, 1.0)
    assert (ratio.settled, ratio.more_replicas) == (False, None)


def test_bounds_of_a_positive_quantity_stay_above_zero():
    units = estimators.relative_pd(one_each(predictions_of(3, 5)))
    assert intervals.estimate(units, positive=True).low > 0


def test_models_that_never_differ_have_a_pd_of_exactly_zero():
    same = np.repeat(predictions_of(1, 20), 3, axis=0)
    interval = intervals.estimate(estimators.relative_pd(one_each(same)), positive=True)
    assert (interval.value, interval.low, interval.high) == (0.0, 0.0, 0.0)


def test_a_ratio_to_a_pd_of_zero_is_nan_with_the_reason():
    zero = estimators.relative_pd(one_each(np.repeat(predictions_of(1, 20), 3, axis=0)))
    other = estimators.relative_pd(one_each(predictions_of(3, 20)))
    interval = intervals.ratio(other, zero).interval
    assert math.isnan(interval.value)
    assert interval.reason == "the baseline's is 0"


@pytest.mark.parametrize(("models", "covers"), [(1, False), (2, False), (3, True)])
def test_fewer_than_three_replicas_cover_the_examples_alone(models, covers):
    units = estimators.log_loss(one_each(predictions_of(models, 30)))
    assert intervals.estimate(units).covers_replicas is covers


def test_one_group_alone_has_no_bounds_and_says_why():
    labels = np.array([0, 1, 1, 0])
    sample = estimators.sample(labels, predictions_of(3, 4), np.zeros(4))
    interval = intervals.estimate(estimators.log_loss(sample))
    assert interval.value > 0
    assert math.isnan(interval.low)
    assert interval.reason == "a single group of examples has no spread"


def scattered(scatter: float, value: float = 1.0, seed: int = 0) -> Units:
    """Return four replicas around ``value`` on examples that are all alike."""
    noise = np.random.default_rng(seed).normal(size=4)
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    return Units(
        values=value + scatter * noise,
        influence=np.zeros((4, 50)),
        replicas=(0, 1, 2, 3),
        order=1,
        clusters=50.0,
    )


def test_more_replicas_settle_what_replicas_leave_open():
    arm = scattered(0.5)
    baseline = scattered(0.0, value=0.5)
    comparison = intervals.difference(arm, baseline)
    needed = comparison.more_replicas
    widths = [stats.t.ppf(0.975, n - 1) * 0.5 / math.sqrt(n) for n in range(5, 20)]
    expected = next(n for n, width in enumerate(widths, 1) if width < 0.5)
    assert (comparison.settled, needed) == (False, expected)


def test_no_replicas_settle_what_the_examples_leave_open():
    rng = np.random.default_rng(0)
    loud = Units(
        values=np.array([1.0, 1.01, 0.99, 1.0]),
        influence=np.repeat(rng.normal(size=(1, 50)), 4, axis=0),
        replicas=(0, 1, 2, 3),
        order=1,
        clusters=50.0,
    )
    assert intervals.difference(loud, scattered(0.0, value=0.5)).more_replicas is None


#: Too wide, and known to be: where replicas differ by independent noise alone, hardly any spread is
#: their own, yet few replicas have few degrees of freedom. Nothing may be too narrow.
TOO_WIDE = {
    ("noise alone", 4): {"relative PD", "swap rate", "PD ratio"},
    ("noise alone", 8): {"PD ratio"},
}


@pytest.mark.parametrize("replicas", [4, 8])
@pytest.mark.parametrize("name", WORLDS)
def test_nominal_95_percent_covers_the_truth_between_90_and_98_percent(name, replicas):
    truth = true_values(WORLDS[name], seed=0, examples=150_000)
    found = simulate(WORLDS[name], truth, replicas=replicas, simulations=250, groups=60, seed=0)
    assert {each.quantity: each.covered for each in found if each.covered < 0.9} == {}
    too_wide = {each.quantity for each in found if each.covered > 0.98}
    assert too_wide == TOO_WIDE.get((name, replicas), set())
    assert len(found) == 5


def within(low: float, high: float, *values: float) -> Units:
    return Units(
        values=np.array(values),
        influence=np.zeros((len(values), 50)),
        replicas=tuple(range(len(values))),
        order=1,
        clusters=50.0,
        within=(low, high),
    )


def test_bounds_beyond_the_range_of_a_metric_are_moved_to_its_edge():
    high, low = within(0, 1, 0.9, 0.99, 0.999), within(0, 1, 0.1, 0.01, 0.001)
    free = intervals.estimate(within(-math.inf, math.inf, 0.9, 0.99, 0.999))
    assert free.high > 1
    found = intervals.estimate(high)
    assert (found.value, found.low, found.high) == (free.value, free.low, 1.0)
    assert intervals.estimate(low).low == 0.0
    assert intervals.difference(high, low).interval.high > 1


def test_a_value_that_rounding_puts_beyond_the_range_stays_within_its_bounds():
    edge = math.nextafter(1.0, 2.0)
    found = intervals.estimate(within(0, 1, edge, edge, edge))
    assert found.low <= found.value <= found.high


def test_intervals_that_are_to_hold_together_are_as_wide_as_bonferroni_says():
    first, second = scattered(0.5), scattered(0.0, value=0.5)
    found = intervals.difference(first, second, confidence=intervals.each_of(7)).interval
    expected = stats.t.ppf(1 - 0.05 / 14, 3) * 0.5 / math.sqrt(4)
    assert found.high - found.value == pytest.approx(expected)


def test_a_p_value_is_that_of_the_test_which_the_interval_inverts():
    first, second = scattered(0.5), scattered(0.0, value=0.5)
    found = intervals.difference(first, second, against=0.9)
    gap = abs(found.interval.value - 0.9)
    assert found.p_value == pytest.approx(2 * stats.t.sf(gap / (0.5 / math.sqrt(4)), 3))

    edge = intervals.difference(first, second, confidence=1 - found.p_value, against=0.9).interval
    assert min(abs(edge.low - 0.9), abs(edge.high - 0.9)) == pytest.approx(0.0, abs=1e-9)


def test_the_p_value_of_a_ratio_is_on_the_log_scale():
    first, second = scattered(0.5), scattered(0.3, value=1.5)
    found = intervals.ratio(first, second)
    edge = intervals.ratio(first, second, confidence=1 - found.p_value).interval
    assert min(abs(edge.low - 1), abs(edge.high - 1)) == pytest.approx(0.0, abs=1e-9)


def test_holms_method_on_an_example_worked_by_hand():
    adjusted = intervals.holm([0.01, 0.04, math.nan, 0.03, 0.005, 0.9])
    np.testing.assert_allclose(adjusted, [0.04, 0.09, math.nan, 0.09, 0.025, 0.9])
    assert intervals.holm([0.6, 0.7]) == [1.0, 1.0]
    assert intervals.holm([]) == []
