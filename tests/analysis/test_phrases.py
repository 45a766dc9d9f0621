"""Numbers are said with what their intervals allow."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.results.phrases import difference_words, joined, ratio_words
from analysis.statistics.intervals import Units, difference, ratio


def models(mean: float, scatter: float, seed: int = 0) -> Units:
    values = mean + scatter * np.random.default_rng(seed).normal(size=8)
    return Units(
        values=values - values.mean() + mean,
        influence=np.zeros((8, 40)),
        replicas=tuple(range(8)),
        order=1,
        clusters=40.0,
    )


def test_a_settled_ratio_says_how_much_lower_or_higher():
    low, high = models(0.6, 0.0001), models(1.0, 0.0001, seed=1)
    assert ratio_words(ratio(low, high)).startswith("40 % lower (40 to 40)")
    assert ratio_words(ratio(models(2.0, 0.0001), low)).startswith("233 % higher (233 to 233)")


def test_an_open_comparison_is_not_significant_and_shows_its_interval():
    one, other = models(1.0, 0.4), models(1.02, 0.4, seed=1)
    assert ratio_words(ratio(one, other)).startswith("not significantly different (ratio 0.98, ")
    words = difference_words(difference(one, other))
    assert words.startswith("not significantly different (difference −0.0200, −")


def test_the_bounds_of_a_difference_rise_whatever_its_sign():
    low, high = models(0.6, 0.0001), models(0.65, 0.0001, seed=1)
    for found in (difference(low, high), difference(high, low)):
        words = difference_words(found)
        bounds = words[words.index("(") + 1 : -1].split(" to ")
        assert float(bounds[0]) < 0.05 < float(bounds[1])


@pytest.mark.parametrize(
    ("names", "words"), [([], "none"), (["a"], "a"), (["a", "b", "c"], "a, b and c")]
)
def test_names_are_joined_as_in_a_sentence(names, words):
    assert joined(names) == words


def test_differences_and_ratios_agree_on_what_is_settled():
    low, high = models(0.6, 0.0001), models(0.65, 0.0001, seed=1)
    assert ratio(low, high).settled
    assert difference(low, high).settled
