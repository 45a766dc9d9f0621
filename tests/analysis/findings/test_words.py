"""Numbers are said with what their intervals allow."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.findings.words import Verdicts, beside, by_difference, by_ratio, listed, percent
from analysis.intervals import Interval, Units, difference, ratio
from analysis.summary import Estimates


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
    assert by_ratio(low, high).startswith("40 % lower (40 to 40)")
    assert by_ratio(models(2.0, 0.0001), low).startswith("233 % higher (233 to 233)")


def test_an_open_comparison_is_not_told_apart_and_shows_its_interval():
    one, other = models(1.0, 0.4), models(1.02, 0.4, seed=1)
    assert by_ratio(one, other).startswith("not told apart (ratio 0.98, ")
    assert by_difference(one, other).startswith("not told apart (difference −0.0200, −")


def test_the_bounds_of_a_difference_rise_whatever_its_sign():
    low, high = models(0.6, 0.0001), models(0.65, 0.0001, seed=1)
    for words in (by_difference(low, high), by_difference(high, low)):
        bounds = words[words.index("(") + 1 : -1].split(" to ")
        assert float(bounds[0]) < 0.05 < float(bounds[1])


def test_verdicts_leave_out_what_has_nobody():
    verdicts = Verdicts()
    verdicts.add("a", ratio(models(0.6, 0.0001), models(1.0, 0.0001, seed=1)))
    verdicts.add("b", ratio(models(0.6, 0.0001), models(1.0, 0.0001, seed=1)))
    verdicts.add("c", ratio(models(1.0, 0.4), models(1.0, 0.4, seed=1)))
    assert verdicts.words("lower for", "higher for", "open for") == "lower for a and b; open for c"


@pytest.mark.parametrize(
    ("names", "words"), [([], "none"), (["a"], "a"), (["a", "b", "c"], "a, b and c")]
)
def test_names_are_listed_as_in_a_sentence(names, words):
    assert listed(names) == words


def test_a_pd_of_nothing_is_exactly_0():
    nothing = Interval(value=0.0, low=0.0, high=0.0, replicas=8, covers_replicas=True)
    assert percent(nothing) == "0 % (exactly)"


def test_differences_and_ratios_agree_on_what_is_settled():
    low, high = models(0.6, 0.0001), models(0.65, 0.0001, seed=1)
    assert ratio(low, high).settled
    assert difference(low, high).settled


def test_an_arm_is_set_beside_the_baseline_and_the_baseline_beside_nothing():
    arm, baseline = (
        Estimates(log_loss=each, ranking_loss=each, relative_pd=each)
        for each in (models(0.6, 0.0001), models(1.0, 0.0001, seed=1))
    )
    relative_pd, relative, log_loss, loss_difference = beside(arm, baseline)
    assert (relative_pd[:6], relative[:6], log_loss[:5]) == ("60.0 %", "**0.60", "0.600")
    assert loss_difference.startswith("**−0.4000")
    assert beside(baseline, baseline)[1::2] == ("", "")
