from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.data import shuffle
from recsys.data.shuffle import order, uniforms

lengths = st.integers(0, 200)
widths = st.one_of(st.integers(0, 250), st.just("full"))
seeds = st.integers(0, 2**64)


@given(lengths, widths, seeds)
def test_a_shuffle_is_a_permutation(length, width, seed):
    found = order(length, 0, length, width=width, seed=seed)

    assert sorted(found.tolist()) == list(range(length))


@given(lengths, st.integers(1, 250), seeds)
def test_no_row_moves_by_the_width_or_more(length, width, seed):
    found = order(length, 0, length, width=width, seed=seed)

    assert np.all(np.abs(found - np.arange(length)) < width)


@given(lengths, seeds)
def test_width_0_keeps_the_stored_order(length, seed):
    assert order(length, 0, length, width=0, seed=seed).tolist() == list(range(length))


@given(st.data(), lengths, widths, seeds)
def test_any_slice_is_that_slice_of_the_whole(data, length, width, seed):
    start = data.draw(st.integers(0, length))
    stop = data.draw(st.integers(start, length))

    found = order(length, start, stop, width=width, seed=seed)

    whole = order(length, 0, length, width=width, seed=seed)
    assert found.tolist() == whole[start:stop].tolist()


@given(lengths, widths, seeds, st.integers(1, 50))
def test_chunks_of_any_size_join_to_the_whole(length, width, seed, size):
    chunks = [
        order(length, start, min(start + size, length), width=width, seed=seed)
        for start in range(0, length, size)
    ]

    whole = order(length, 0, length, width=width, seed=seed)
    assert np.concatenate([*chunks, whole[:0]]).tolist() == whole.tolist()


@given(lengths, st.integers(1, 250), seeds)
def test_rows_are_sorted_by_their_place_plus_a_draw(length, width, seed):
    draws = uniforms(0, length, seed=seed).tolist()

    found = order(length, 0, length, width=width, seed=seed)

    assert found.tolist() == sorted(range(length), key=lambda row: row + width * draws[row])


def test_the_order_is_the_same_on_every_platform():
    assert order(12, 0, 12, width=4, seed=2026).tolist() == [0, 1, 2, 4, 6, 3, 5, 7, 9, 8, 11, 10]
    assert order(12, 0, 12, width="full", seed=2026).tolist() == [
        11,
        2,
        6,
        9,
        1,
        7,
        10,
        0,
        4,
        8,
        5,
        3,
    ]
    assert uniforms(0, 3, seed=2026).tolist() == [
        0.422034180346073,
        0.34249750953111324,
        0.11181606179138992,
    ]


def test_a_position_far_into_a_long_log_is_reached_at_once():
    found = order(10**12, 10**12 - 1010, 10**12 - 1000, width=1000, seed=5)

    assert len(found) == 10
    assert np.all(np.abs(found - np.arange(10**12 - 1010, 10**12 - 1000)) < 1000)


def test_seeds_give_different_orders():
    orders = {tuple(order(50, 0, 50, width=50, seed=seed).tolist()) for seed in range(100)}

    assert len(orders) == 100


def test_a_full_shuffle_puts_every_row_everywhere_equally_often():
    first = [int(order(5, 0, 1, width="full", seed=seed)[0]) for seed in range(2000)]

    counts = np.bincount(first, minlength=5)
    chi_squared = ((counts - 400) ** 2 / 400).sum()
    assert chi_squared < 18.5  # 4 degrees of freedom: exceeded once in a thousand


def test_draws_are_uniform():
    draws = np.sort(uniforms(0, 10_000, seed=3))

    kolmogorov = np.abs(draws - np.arange(10_000) / 10_000).max()
    assert kolmogorov < 0.0195  # exceeded once in a thousand
    assert draws[0] >= 0
    assert draws[-1] < 1


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (3, 2), (0, 11)])
def test_positions_outside_the_log_are_refused(start, stop):
    with pytest.raises(ValueError, match="not within 0 to 10"):
        order(10, start, stop, width=2, seed=0)


def test_a_negative_width_is_refused():
    with pytest.raises(ValueError, match="width -1"):
        order(10, 0, 10, width=-1, seed=0)


def test_the_kept_permutation_cannot_be_written_to():
    found = order(10, 0, 10, width="full", seed=0)

    with pytest.raises(ValueError, match="read-only"):
        found[0] = 1


def test_the_examples_of_the_documentation_hold():
    assert doctest.testmod(shuffle).failed == 0
