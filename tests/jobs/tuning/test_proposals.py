"""Who chooses the values of a round."""

from __future__ import annotations

import math
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.tuning.policy import Outcome, evenly, proposer
from recsys.errors import ConfigError
from tests.support.searches import Truth, config, run

TRUTH = Truth(
    loss=lambda beta: 0.001 * (beta / 2) ** 2,
    pd=lambda beta: 0.12 / (1 + beta),
    fails=lambda beta: beta > 6,
)


def test_the_first_round_spans_the_range_and_later_ones_lie_strictly_within():
    searched = config(low=1, high=16)

    first = evenly(searched, (), (1, 16), 1)
    second = evenly(searched, (), (2, 8), 2)

    assert first == [1, 2, 4, 8, 16]
    assert second == [2.52, 3.175, 4, 5.04, 6.35]


def test_a_linear_scale_has_equal_steps():
    searched = config(low=-1, high=1, scale="linear")

    assert evenly(searched, (), (-1, 1), 1) == [-1, -0.5, 0, 0.5, 1]


@given(
    low=st.floats(1e-6, 1e3),
    factor=st.floats(1.001, 1e4),
    points=st.integers(3, 20),
    number=st.integers(1, 3),
)
def test_values_are_distinct_ascending_and_within_the_range(low, factor, points, number):
    searched = config(low=low, high=low * factor, points=points)

    values = evenly(searched, (), (searched.low, searched.high), number)

    assert values == sorted(set(values))
    assert len(values) <= points
    assert all(searched.low <= value <= searched.high for value in values)


def test_optuna_finds_about_the_same_and_asks_for_the_same_again():
    searched = config(sampler="optuna", points=8, rounds=5)

    course = run(searched, TRUTH, proposer(searched, seed=1))
    again = run(searched, TRUTH, proposer(searched, seed=1))

    assert course.requests == again.requests
    assert len(course.requests[-1].replicas) <= 40
    assert course.verdict.outcome is Outcome.FOUND
    assert 0 <= math.log(2 / course.verdict.best.value) < 0.5


def test_another_seed_lets_optuna_ask_for_other_values():
    searched = config(sampler="optuna", rounds=1)

    values = {proposer(searched, seed=s)(searched, (), (0.05, 8), 1)[0] for s in range(3)}

    assert len(values) == 3


def test_optuna_that_is_not_installed_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)

    with pytest.raises(ConfigError, match=r"pip install 'soloist\[search\]'"):
        proposer(config(sampler="optuna"), seed=1)
