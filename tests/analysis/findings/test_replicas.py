"""The scatter of a PD over choices of models, against its definition."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.findings.replicas import matrix, rightly_ordered, scatter, spread


def symmetric(models: int, seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).uniform(0.5, 1.5, models * (models - 1) // 2)
    return matrix(values, models)


def additive(models: int, seed: int, *, own: float, noise: float) -> np.ndarray:
    """PDs of 1 plus what each of the two models adds, plus noise of the pair."""
    rng = np.random.default_rng(seed)
    each = rng.normal(scale=own, size=models)
    pairs = list(combinations(range(models), 2))
    values = [1 + each[i] + each[j] + rng.normal(scale=noise) for i, j in pairs]
    return matrix(np.array(values), models)


def test_pairs_lie_where_combinations_puts_them():
    np.testing.assert_array_equal(
        matrix(np.array([1.0, 2.0, 3.0]), 3), [[0, 1, 2], [1, 0, 3], [2, 3, 0]]
    )


@settings(max_examples=30)
@given(st.integers(4, 7), st.integers(0, 2**32 - 1))
def test_the_scatter_is_that_of_products_of_pairs_counted_one_by_one(models, seed):
    pairs = symmetric(models, seed)
    orders = list(permutations(range(models), 4))
    disjoint = np.mean([pairs[i, j] * pairs[k, m] for i, j, k, m in orders])
    sharing = np.mean([pairs[i, j] * pairs[i, k] for i, j, k, _ in orders])
    same = np.mean([pairs[i, j] ** 2 for i, j, _, _ in orders])

    found = scatter(pairs)

    assert found.pair == pytest.approx(same - disjoint, abs=1e-12)
    assert found.shared == pytest.approx(sharing - disjoint, abs=1e-12)


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_without_bias_it_is_the_spread_between_disjoint_choices(seed):
    pairs = symmetric(6, seed)
    splits = [(chosen, tuple(set(range(6)) - set(chosen))) for chosen in combinations(range(6), 3)]
    spreads = [np.var([_pd(pairs, half) for half in split], ddof=1) for split in splits]

    found = scatter(pairs)

    unclipped = (2 * found.shared + found.pair) / 3
    assert unclipped == pytest.approx(np.mean(spreads), abs=1e-12)


def test_the_scatter_of_models_and_pairs_is_found_again():
    own, noise = 0.2, 0.1
    found = [scatter(additive(24, seed, own=own, noise=noise)) for seed in range(200)]
    assert np.mean([each.shared for each in found]) == pytest.approx(own**2, rel=0.1)
    assert np.mean([each.pair for each in found]) == pytest.approx(2 * own**2 + noise**2, rel=0.1)


def test_the_scatter_falls_with_the_number_of_models_and_is_known_to_lie_within_its_interval():
    pairs = additive(24, 3, own=0.1, noise=0.02)
    two, eight = spread(pairs, 2), spread(pairs, 8)
    assert eight.value < two.value
    assert two.contains(np.sqrt(2 * 0.1**2 + 0.02**2))
    assert eight.contains(np.sqrt(scatter_of(0.1, 0.02, 8)))


def test_too_few_models_have_no_scatter():
    with pytest.raises(ValueError, match="expected at least 4 models"):
        scatter(np.zeros((3, 3)))


def test_arms_far_apart_are_always_ordered_rightly_and_equal_arms_half_of_the_time():
    lower, higher = additive(12, 0, own=0.1, noise=0.1), additive(12, 1, own=0.1, noise=0.1)
    assert rightly_ordered(lower, higher + 5, 2, draws=50, seed=0) == 1.0
    assert rightly_ordered(lower, lower, 2, draws=2000, seed=0) == pytest.approx(0.5, abs=0.05)


def scatter_of(own: float, noise: float, models: int) -> float:
    shared, pair = own**2, 2 * own**2 + noise**2
    return (2 * (models - 2) * shared + pair) / (models * (models - 1) / 2)


def _pd(pairs: np.ndarray, chosen: tuple[int, ...]) -> float:
    return float(np.mean([pairs[i, j] for i, j in combinations(chosen, 2)]))
