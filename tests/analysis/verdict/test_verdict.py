"""Every branch of the verdict: who is compared, what is decided, and how it is said."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from analysis.results.reading import ArmResults, read_sweep
from analysis.results.summary import summarize
from analysis.results.tables import page
from analysis.statistics import intervals
from analysis.statistics.intervals import Comparison, Interval
from analysis.verdict.replacement import (
    Margins,
    Outcome,
    Replacement,
    candidates,
    choose,
    compare,
    incumbents,
)
from analysis.verdict.verdict import in_words, titles, verdicts
from tests.support.results import ARMS, SyntheticArm, write_sweep

TITLES = {"smelu": "SmeLU β=1", "wide": "SmeLU β=2"}
TODAY = "the 3-component ReLU ensemble"
MARGINS = Margins(log_loss=0.001, relative_pd=0.05)


def compared(
    low: float, value: float, high: float, against: float, *, replicas: int = 6, more: int | None
) -> Comparison:
    settled = replicas >= 3 and not low <= against <= high
    return Comparison(
        interval=Interval(
            value=value, low=low, high=high, replicas=replicas, covers_replicas=replicas >= 3
        ),
        settled=settled,
        more_replicas=0 if settled else more,
    )


def pd(
    low: float, value: float, high: float, *, replicas: int = 6, more: int | None = None
) -> Comparison:
    return compared(low, value, high, 1.05, replicas=replicas, more=more)


def loss(
    low: float, value: float, high: float, *, replicas: int = 6, more: int | None = None
) -> Comparison:
    return compared(low, value, high, 0.001, replicas=replicas, more=more)


def found(
    relative_pd: Comparison,
    log_loss: Comparison,
    *,
    candidate: str = "smelu",
    serve_lookups: float = 1 / 3,
) -> Replacement:
    return Replacement(
        candidate=candidate,
        incumbent="ensemble",
        relative_pd=relative_pd,
        log_loss=log_loss,
        train_lookups=serve_lookups,
        serve_lookups=serve_lookups,
        margins=MARGINS,
    )


LOWER_PD, HIGHER_PD = pd(0.5, 0.6, 0.7), pd(1.1, 1.2, 1.3)
LOWER_LOSS, HIGHER_LOSS = loss(-0.004, -0.003, -0.002), loss(0.002, 0.003, 0.004)
OPEN_PD = pd(0.9, 1.0, 1.1, more=4)
NO_PD = Comparison(
    interval=intervals.undefined("needs at least two replicas", replicas=1),
    settled=False,
    more_replicas=None,
)


@pytest.mark.parametrize(
    ("relative_pd", "log_loss", "lookups", "words"),
    [
        (
            LOWER_PD,
            LOWER_LOSS,
            1 / 3,
            "SmeLU β=1 replaces the 3-component ReLU ensemble: PD −40 % [−50, −30],"
            " log loss −0.0030 [−0.0040, −0.0020], lookups −67 %.",
        ),
        (
            pd(0.96, 1.0, 1.04),
            loss(-0.0005, 0.0, 0.0005),
            1.0,
            "SmeLU β=1 replaces the 3-component ReLU ensemble: PD 0 % [−4, +4],"
            " log loss 0.0000 [−0.0005, +0.0005], lookups unchanged.",
        ),
        (
            HIGHER_PD,
            LOWER_LOSS,
            1 / 3,
            "SmeLU β=1 does not replace the 3-component ReLU ensemble: PD +20 % [+10, +30],"
            " log loss −0.0030 [−0.0040, −0.0020], lookups −67 %."
            " Its PD is higher by more than 5 %.",
        ),
        (
            HIGHER_PD,
            HIGHER_LOSS,
            3.0,
            "SmeLU β=1 does not replace the 3-component ReLU ensemble: PD +20 % [+10, +30],"
            " log loss +0.0030 [+0.0020, +0.0040], lookups +200 %. Its PD is higher by more than"
            " 5 % and its log loss is higher by more than 0.001 and it reads more embedding rows.",
        ),
        (
            OPEN_PD,
            LOWER_LOSS,
            1 / 3,
            "Whether SmeLU β=1 replaces the 3-component ReLU ensemble is not decided yet: PD 0 %"
            " [−10, +10], log loss −0.0030 [−0.0040, −0.0020], lookups −67 %. 4 more replicas of"
            " each arm, 10 in total, would decide it if the values stay the same.",
        ),
        (
            OPEN_PD,
            loss(-0.01, 0.0, 0.01, more=9),
            1 / 3,
            "Whether SmeLU β=1 replaces the 3-component ReLU ensemble is not decided yet: PD 0 %"
            " [−10, +10], log loss 0.0000 [−0.0100, +0.0100], lookups −67 %. 9 more replicas of"
            " each arm, 15 in total, would decide it if the values stay the same.",
        ),
        (
            OPEN_PD,
            loss(-0.01, 0.0, 0.01, more=None),
            1 / 3,
            "Whether SmeLU β=1 replaces the 3-component ReLU ensemble is not decided yet: PD 0 %"
            " [−10, +10], log loss 0.0000 [−0.0100, +0.0100], lookups −67 %. More replicas "
            "would not decide it; more evaluation examples are needed.",
        ),
        (
            pd(0.5, 0.6, 0.7, replicas=2),
            loss(-0.004, -0.003, -0.002, replicas=2),
            1 / 3,
            "Whether SmeLU β=1 replaces the 3-component ReLU ensemble is not decided yet: PD −40 %"
            " [−50, −30], log loss −0.0030 [−0.0040, −0.0020], lookups −67 %. 2 replicas are "
            "too few: at least 1 more of each arm is needed.",
        ),
        (
            NO_PD,
            LOWER_LOSS,
            1 / 3,
            "Whether SmeLU β=1 replaces the 3-component ReLU ensemble cannot be decided: needs "
            "at least two replicas.",
        ),
        (
            NO_PD,
            HIGHER_LOSS,
            1 / 3,
            "SmeLU β=1 does not replace the 3-component ReLU ensemble: PD not known,"
            " log loss +0.0030 [+0.0020, +0.0040], lookups −67 %."
            " Its log loss is higher by more than 0.001.",
        ),
    ],
)
def test_the_verdict_on_one_candidate(relative_pd, log_loss, lookups, words):
    one = found(relative_pd, log_loss, serve_lookups=lookups)

    assert in_words([one], TITLES, TODAY) == words


def test_without_a_candidate_the_verdict_says_so():
    assert in_words([], TITLES, TODAY) == (
        "This sweep has no single SmeLU model to replace the 3-component ReLU ensemble."
    )


def test_of_several_that_replace_the_one_of_lowest_pd_is_chosen_and_the_others_are_named():
    lowest = found(pd(0.3, 0.4, 0.5), LOWER_LOSS, candidate="wide")
    both = [found(LOWER_PD, LOWER_LOSS), lowest]

    assert choose(both) is lowest
    assert in_words(both, TITLES, TODAY).endswith("lookups −67 %. So would SmeLU β=1.")


def test_of_several_that_fail_the_one_that_fails_in_less_is_said_to_be_the_nearest():
    nearest = found(HIGHER_PD, LOWER_LOSS)
    both = [found(HIGHER_PD, HIGHER_LOSS, candidate="wide"), nearest]

    assert choose(both) is nearest
    assert in_words(both, TITLES, TODAY).startswith(
        "None of 2 SmeLU models replaces the 3-component ReLU ensemble; the nearest is SmeLU β=1: "
    )


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (found(LOWER_PD, LOWER_LOSS), found(OPEN_PD, LOWER_LOSS)),
        (found(OPEN_PD, LOWER_LOSS), found(NO_PD, LOWER_LOSS)),
        (found(NO_PD, LOWER_LOSS), found(HIGHER_PD, LOWER_LOSS)),
    ],
)
def test_a_candidate_that_may_still_replace_comes_before_one_that_does_not(better, worse):
    assert choose([worse, better]) is better


def arm(name: str, kind: str = "single", activation: str = "relu", beta: float = math.nan):
    return ArmResults(
        name=name,
        places=(),
        done=(),
        kind=kind,
        model="mlp",
        activation=activation,
        beta=beta,
        components=1 if kind == "single" else 3,
    )


def test_arms_are_called_by_what_they_are_and_by_name_where_that_does_not_tell_them_apart():
    arms = [
        arm("a"),
        arm("b", activation="smelu", beta=0.5),
        arm("c", kind="ensemble"),
        arm("d", kind="ensemble"),
        arm("e", kind="self_ensemble"),
        arm("f", kind="anti_distilled"),
        arm("g", kind="distilled"),
        arm("h", kind="codistilled"),
        arm("i", activation="rescu(knots=[0])"),
    ]

    assert titles(arms) == {
        "a": "ReLU",
        "b": "SmeLU β=0.5",
        "c": "3-component ReLU ensemble (c)",
        "d": "3-component ReLU ensemble (d)",
        "e": "3-tower ReLU self-ensemble",
        "f": "3-component anti-distilled ReLU ensemble",
        "g": "ReLU model distilled from 3 components",
        "h": "ReLU model codistilled among 3",
        "i": "rescu(knots=[0])",
    }


@pytest.fixture(scope="module")
def summary(tmp_path_factory):
    more = (
        SyntheticArm(name="small_ensemble", noise=0.5, kind="ensemble", components=2),
        SyntheticArm(
            name="smelu_ensemble",
            noise=0.2,
            kind="ensemble",
            components=9,
            activation="smelu",
            beta=1.0,
        ),
    )
    return summarize(read_sweep(write_sweep(tmp_path_factory.mktemp("sweep"), ARMS + more)))


def test_the_costliest_ensemble_that_is_not_smooth_is_the_main_incumbent(summary):
    found = incumbents(summary.arms, summary.sweep.baseline)

    assert [each.arm.name for each in found] == ["relu_ensemble", "small_ensemble", "relu"]


def test_a_baseline_of_several_components_is_the_main_incumbent_whatever_it_costs(summary):
    (baseline,) = (each.arm for each in summary.arms if each.arm.name == "small_ensemble")

    found = incumbents(summary.arms, baseline)

    assert [each.arm.name for each in found] == ["small_ensemble", "relu_ensemble"]


def test_without_an_ensemble_the_baseline_is_what_would_be_replaced(summary):
    singles = [each for each in summary.arms if each.arm.kind == "single"]

    assert incumbents(singles, summary.sweep.baseline) == [singles[0]]


def test_single_smooth_models_are_the_candidates(summary):
    assert [each.arm.name for each in candidates(summary.arms)] == ["smelu_half", "smelu_1"]


def test_smelu_of_beta_0_is_relu_and_no_candidate(summary):
    sharp = replace(summary.arms[0], arm=arm("sharp", activation="smelu", beta=0.0))

    assert candidates([sharp]) == []


def test_arms_trained_under_other_conditions_than_the_baseline_have_no_say(tmp_path):
    stale = (
        SyntheticArm(name="stale", noise=0.1, activation="smelu", beta=1.0, workers=16),
        SyntheticArm(name="stale_ensemble", noise=0.1, kind="ensemble", components=9, workers=16),
    )
    alike, all_arms = (
        summarize(read_sweep(write_sweep(tmp_path / name, arms)))
        for name, arms in (("alike", ARMS), ("all", ARMS + stale))
    )

    found = verdicts(all_arms, MARGINS)

    # Two arms of one title are told apart by their names.
    words = [each.words.replace(" (smelu_1)", "") for each in found]
    assert words == [each.words for each in verdicts(alike, MARGINS)]
    assert [each.incumbent.name for each in found] == ["relu_ensemble", "relu"]


def test_each_incumbent_has_a_verdict_on_the_candidate_chosen_for_the_main_one(summary):
    found = verdicts(summary, Margins(log_loss=1.0, relative_pd=5.0, ranking_loss=10.0))

    assert [each.incumbent.name for each in found] == ["relu_ensemble", "small_ensemble", "relu"]
    assert {each.chosen.name for each in found} == {"smelu_1"}
    assert {each.outcome for each in found} == {Outcome.REPLACES}
    assert found[2].words.startswith("SmeLU β=1 replaces ReLU: PD −")


def test_an_arm_that_ranks_significantly_worse_never_replaces():
    ranking = compared(0.004, 0.006, 0.008, 0.002, more=None)
    worse = replace(found(LOWER_PD, LOWER_LOSS), ranking_loss=ranking, ranking_margin=0.002)

    words = in_words([worse], TITLES, TODAY)

    assert worse.outcome is Outcome.FAILS
    assert "ranking loss +0.0060 [+0.0040, +0.0080]" in words
    assert words.endswith("Its ranking loss is higher by more than 0.002.")


def test_an_arm_whose_ranking_is_open_is_not_decided():
    ranking = compared(-0.001, 0.001, 0.003, 0.002, more=5)
    unsure = replace(found(LOWER_PD, LOWER_LOSS), ranking_loss=ranking, ranking_margin=0.002)

    assert unsure.outcome is Outcome.OPEN
    assert "5 more replicas of each arm" in in_words([unsure], TITLES, TODAY)


def test_the_margin_of_the_ranking_loss_is_a_share_of_what_the_incumbent_gained(summary):
    arms = {each.arm.name: each for each in summary.arms}

    (beside,) = compare(arms["relu_ensemble"], [arms["smelu_1"]], 1, MARGINS)

    gained = 0.5 - arms["relu_ensemble"].measured.ranking_loss.value
    assert beside.ranking_margin == pytest.approx(0.01 * gained)
    assert beside.ranking_loss is not None


@pytest.mark.parametrize("ignorant", ["relu_ensemble", "smelu_1"])
def test_models_that_learned_nothing_get_no_verdict_and_no_advice(tmp_path, ignorant):
    arms = [
        replace(each, wrong=6.0) if each.name == ignorant else each
        for each in ARMS
        if each.name in ("relu", "relu_ensemble", "smelu_1")
    ]
    summary = summarize(read_sweep(write_sweep(tmp_path, arms)))

    (first, *_) = verdicts(summary, MARGINS)

    assert first.outcome is Outcome.UNDEFINED
    assert first.chosen is None
    assert first.words.startswith("No verdict: ")
    assert "learned nothing. A normalized entropy of " in first.words
    assert "more replica" not in first.words
    notes = page(summary).notes
    assert not any("Open in" in note and ignorant in note for note in notes)
    assert any(note.startswith("Learned nothing") and ignorant in note for note in notes)


def test_a_candidate_that_learned_nothing_is_left_out(tmp_path):
    arms = [replace(each, wrong=6.0) if each.name == "smelu_half" else each for each in ARMS]
    summary = summarize(read_sweep(write_sweep(tmp_path, arms)))

    assert {each.chosen.name for each in verdicts(summary, MARGINS)} == {"smelu_1"}


def test_intervals_are_wider_where_there_are_more_candidates_to_choose_from(summary, tmp_path):
    alone = tuple(each for each in ARMS if each.name != "smelu_half")
    fewer = summarize(read_sweep(write_sweep(tmp_path, alone)))
    both = {name: each for each in summary.arms for name in [each.arm.name]}
    one = {name: each for each in fewer.arms for name in [each.arm.name]}

    def width(arms, rivals):
        (beside,) = compare(arms["relu_ensemble"], [arms["smelu_1"]], rivals, MARGINS)
        return beside.log_loss.interval.high - beside.log_loss.interval.low

    assert width(both, 2) > width(both, 1)
    assert len(candidates(fewer.arms)) == 1
    assert verdicts(fewer, MARGINS)[0].words == in_words(
        compare(one["relu_ensemble"], [one["smelu_1"]], 1, MARGINS), {"smelu_1": "SmeLU β=1"}, TODAY
    )


def test_a_sweep_of_which_nothing_is_finished_has_a_verdict_with_the_reason(tmp_path):
    arms = tuple(replace(each, unfinished=(0, 1, 2, 3)) for each in ARMS)

    (first, *_) = verdicts(summarize(read_sweep(write_sweep(tmp_path, arms))), MARGINS)

    assert first.outcome is Outcome.UNDEFINED
    assert first.words.endswith("cannot be decided: no trial is finished.")


def test_a_comparison_with_a_margin_is_settled_by_the_margin_and_says_how_many_would_settle_it():
    units = intervals.Units(
        values=np.array([0.98, 1.0, 1.02, 1.0]),
        influence=np.zeros((4, 50)),
        replicas=(0, 1, 2, 3),
        order=1,
        clusters=50.0,
    )
    other = replace(units, values=np.array([1.0, 0.98, 1.0, 1.02]))

    none = intervals.difference(units, other)
    wide = intervals.difference(units, other, against=0.2)
    narrow = intervals.difference(units, other, against=0.03)

    assert (none.settled, wide.settled, narrow.settled) == (False, True, False)
    assert none.more_replicas is None
    assert narrow.more_replicas > 0
