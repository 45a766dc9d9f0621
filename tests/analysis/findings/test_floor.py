"""The fall of PD with the number of components, fitted to PDs whose fall is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.findings.floor import fit, root
from analysis.intervals import Interval, Units

COMPONENTS = (1, 2, 3, 4, 6, 8)
REPLICAS = 8


def units(values: np.ndarray) -> Units:
    return Units(
        values=values,
        influence=np.zeros((len(values), 50)),
        replicas=tuple(range(REPLICAS)),
        order=2,
        clusters=50.0,
    )


def falling(own: float, floor: float) -> dict[int, Units]:
    pairs = REPLICAS * (REPLICAS - 1) // 2
    return {k: units(np.full(pairs, np.sqrt(own / k + floor))) for k in COMPONENTS}


def scattered(own: float, floor: float, rng: np.random.Generator) -> dict[int, Units]:
    """Each model of each arm adds 2 % of the PD to that of its pairs."""
    found = {}
    first, second = np.triu_indices(REPLICAS, 1)
    for k in COMPONENTS:
        each = rng.normal(scale=0.02, size=REPLICAS)
        found[k] = units(np.sqrt(own / k + floor) * (1 + each[first] + each[second]))
    return found


@given(st.floats(1e-4, 1.0), st.floats(0.0, 1.0))
def test_a_fall_to_a_floor_is_found_again(own, floor):
    found = fit(falling(own, floor))
    assert found.own.value == pytest.approx(own, rel=1e-6, abs=1e-9)
    assert found.floor.value == pytest.approx(floor, rel=1e-6, abs=1e-9)
    assert found.share.value == pytest.approx(floor / (own + floor), rel=1e-6, abs=1e-8)
    np.testing.assert_allclose(found.at(np.array([1.0, 5.0]))[1] ** 2, own / 5 + floor, rtol=1e-6)


def test_without_a_floor_pd_goes_as_one_over_the_root():
    found = fit(falling(0.02, 0.0))
    assert found.exponent.value == pytest.approx(-0.5)
    assert fit(falling(0.02, 0.01)).exponent.value > -0.5


def test_the_interval_of_the_floor_covers_it_nineteen_times_in_twenty():
    rng = np.random.default_rng(0)
    found = [fit(scattered(0.016, 0.004, rng)) for _ in range(300)]
    covered = {
        "floor": np.mean([each.floor.contains(0.004) for each in found]),
        "own": np.mean([each.own.contains(0.016) for each in found]),
        "share": np.mean([each.share.contains(0.2) for each in found]),
    }
    assert all(0.9 <= share <= 0.99 for share in covered.values()), covered


def test_the_root_of_a_square_that_may_be_negative_starts_at_0():
    square = Interval(value=0.04, low=-0.01, high=0.09, replicas=8, covers_replicas=True)
    assert (root(square).low, root(square).value) == (0.0, pytest.approx(0.2))
    assert root(square).high == pytest.approx(0.3)
