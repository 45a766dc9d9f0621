"""The rules of a search, on truths that are known."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.tuning.policy import (
    Evidence,
    Outcome,
    Request,
    contenders,
    decide,
    evenly,
    feasibility,
    leader,
)
from tests.support.searches import Truth, config, interval, run

FALLING = Truth(loss=lambda beta: 0.001 * (beta / 2) ** 2, pd=lambda beta: 0.12 / (1 + beta))
"""PD falls with beta, and the loss leaves ε = 0.001 at 2."""

DIPPING = Truth(
    loss=lambda beta: -0.01 + 0.0001 * beta,
    pd=lambda beta: 0.05 + 0.02 * math.log(beta / 0.7) ** 2 if beta else 0.2,
)
"""All losses are fine, and PD is lowest at 0.7."""


def noisy(truth: Truth, seed: int, loss: float = 0.0004, pd: float = 0.04) -> Truth:
    return replace(truth, loss_noise=loss, pd_noise=pd, seed=seed)


def finest(points: int, rounds: int) -> float:
    """Return the gap of log beta that a search without noise ends with."""
    gap = math.log(8 / 0.05) / (points - 1)
    return gap * (2 / (points + 1)) ** (rounds - 1)


@given(
    edge=st.floats(0.06, 7.9),
    steepness=st.floats(0.5, 4),
    points=st.integers(3, 9),
    rounds=st.integers(1, 5),
)
@settings(max_examples=60)
def test_where_pd_falls_the_largest_value_within_epsilon_wins(edge, steepness, points, rounds):
    searched = config(points=points, rounds=rounds)
    truth = replace(FALLING, loss=lambda beta: 0.001 * (beta / edge) ** steepness)

    verdict = run(searched, truth).verdict

    assert verdict.outcome is Outcome.FOUND
    assert verdict.best.value <= edge
    assert math.log(edge / verdict.best.value) <= finest(points, rounds) * 1.01
    assert verdict.rivals == ()


@given(lowest=st.floats(0.06, 7.9), points=st.integers(3, 9), rounds=st.integers(1, 5))
@settings(max_examples=60)
def test_where_pd_has_a_dip_within_epsilon_the_value_nearest_to_it_wins(lowest, points, rounds):
    searched = config(points=points, rounds=rounds)
    truth = replace(DIPPING, pd=lambda b: 0.05 + math.log(b / lowest) ** 2 if b else 1.0)

    verdict = run(searched, truth).verdict

    assert verdict.outcome is Outcome.FOUND
    assert abs(math.log(verdict.best.value / lowest)) <= finest(points, rounds) * 1.01


@pytest.mark.parametrize("truth", [FALLING, DIPPING])
@pytest.mark.parametrize("seed", range(6))
def test_with_noise_the_winner_and_its_rivals_surround_the_optimum(truth, seed):
    optimum = 2.0 if truth is FALLING else 0.7

    verdict = run(config(), noisy(truth, seed)).verdict

    values = [each.value for each in (verdict.best, *verdict.rivals)]
    gap = 2 * finest(5, 1)
    assert verdict.outcome is Outcome.FOUND
    assert min(abs(math.log(value / optimum)) for value in values) <= gap


@given(
    seed=st.integers(0, 10_000),
    loss_noise=st.floats(0, 0.02),
    pd_noise=st.floats(0, 1),
    shift=st.floats(-0.01, 0.01),
    replicas=st.integers(3, 6),
    more=st.integers(0, 10),
    points=st.integers(3, 6),
    rounds=st.integers(1, 4),
    failing=st.floats(0.01, 20),
)
@settings(max_examples=80)
def test_no_search_asks_for_more_than_its_budget_and_none_takes_back_what_it_asked_for(
    seed, loss_noise, pd_noise, shift, replicas, more, points, rounds, failing
):
    searched = config(replicas=replicas, max_replicas=replicas + more, points=points, rounds=rounds)
    truth = replace(
        noisy(FALLING, seed, loss_noise, pd_noise),
        loss=lambda beta: FALLING.loss(beta) + shift,
        fails=lambda beta: beta > failing,
    )

    course = run(searched, truth)

    assert course.trials <= searched.most_trials
    assert course.requests[-1].round <= rounds
    for before, after in zip(course.requests, course.requests[1:], strict=False):
        asked = dict(after.replicas)
        assert all(asked[value] >= count for value, count in before.replicas)
        assert asked != dict(before.replicas)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20)
def test_the_same_evidence_gives_the_same_course_and_verdict(seed):
    truth = noisy(FALLING, seed)

    assert run(config(), truth) == run(config(), truth)


def test_a_search_that_goes_on_from_any_of_its_requests_ends_alike():
    searched, truth = config(), noisy(FALLING, seed=3)
    course = run(searched, truth)

    for number, request in enumerate(course.requests[:-1]):
        later = decide(searched, request, truth.evidence(request), evenly)
        assert later == course.requests[number + 1]


def test_replicas_are_added_to_those_that_may_be_the_answer_alone():
    truth = noisy(FALLING, seed=1, loss=0.0002)

    counts = dict(run(config(), truth).requests[-1].replicas)

    assert counts[0.05] == 4
    assert counts[8.0] == 4
    assert max(counts.values()) > 4


def test_where_every_value_misses_epsilon_nothing_is_found_and_the_nearest_is_told():
    truth = replace(FALLING, loss=lambda beta: 0.01 + 0.01 * abs(math.log(beta / 0.3)))

    verdict = run(config(), truth).verdict

    assert verdict.outcome is Outcome.NONE_FEASIBLE
    assert abs(math.log(verdict.best.value / 0.3)) <= finest(5, 3) * 1.01
    assert verdict.rivals == ()


def test_a_narrow_valley_between_values_that_miss_is_found_by_looking_closer():
    truth = replace(FALLING, loss=lambda beta: 0.004 * abs(math.log(beta / 1.2)))

    verdict = run(config(rounds=4), truth).verdict

    assert verdict.outcome is Outcome.FOUND
    assert 1.2 <= verdict.best.value <= 1.2 * math.exp(0.25)


def test_losses_that_stay_open_with_all_replicas_cannot_be_told():
    truth = replace(FALLING, loss=lambda _: 0.001, loss_noise=0.05, seed=2)

    course = run(config(), truth)

    assert course.verdict.outcome is Outcome.UNDECIDED
    assert course.verdict.rivals
    assert {each.replicas for each in course.verdict.rivals} == {16}


def test_values_whose_trials_fail_are_out_and_the_others_are_judged():
    truth = replace(FALLING, fails=lambda beta: beta > 1)

    verdict = run(config(), truth).verdict

    assert verdict.outcome is Outcome.FOUND
    assert 0.8 < verdict.best.value <= 1


def test_a_search_in_which_everything_fails_ends_at_once_with_nothing():
    course = run(config(), replace(FALLING, fails=lambda _: True))

    assert len(course.requests) == 1
    assert course.verdict.outcome is Outcome.NONE_FEASIBLE
    assert course.verdict.best is None


def test_a_winner_at_the_end_of_the_range_has_no_neighbour_there():
    truth = replace(FALLING, loss=lambda _: 0.0)

    verdict = run(config(), truth).verdict

    assert verdict.best.value == 8
    assert verdict.between[1] is None
    assert verdict.between[0] < 8


@pytest.mark.parametrize(
    ("low", "high", "replicas", "expected"),
    [
        (-0.002, 0.001, 4, "within ε"),
        (-0.002, 0.0011, 4, "undecided"),
        (-0.002, 0.001, 2, "undecided"),
        (0.0011, 0.002, 4, "above ε"),
        (math.nan, math.nan, 4, "undecided"),
    ],
)
def test_a_loss_is_judged_by_the_side_of_epsilon_its_interval_lies_on(
    low, high, replicas, expected
):
    bounds = interval((low + high) / 2, (high - low) / 2, replicas)
    (candidate,) = FALLING.evidence(Request(round=1, replicas=((1.0, 4),))).candidates

    assert feasibility(replace(candidate, log_loss=bounds), 0.001) == expected


def test_a_value_with_a_smaller_pd_contends_as_long_as_its_loss_is_open():
    evidence = noisy(FALLING, seed=0, loss=0.003, pd=0).evidence(
        Request(round=1, replicas=((0.05, 4), (2.0, 4), (8.0, 4)))
    )
    open_one = replace(evidence.candidates[1], log_loss=interval(0.001, 0.002, 4))
    meeting = replace(evidence.candidates[0], log_loss=interval(0, 0.0005, 4))
    missing = replace(evidence.candidates[2], log_loss=interval(0.01, 0.0005, 4))
    known = replace(evidence, candidates=(meeting, open_one, missing))

    assert leader(known.candidates, 0.001) == meeting
    assert contenders(known, 0.001) == (meeting, open_one)


def meeting(*pds: float, half: float = 0.0) -> tuple[Request, Evidence]:
    """Return a first round's request and evidence: all meet ε, PDs differ by ``half`` or not."""
    values = [0.05 * 2**number for number in range(len(pds))]
    request = Request(round=1, replicas=tuple((value, 4) for value in values))
    (pattern,) = DIPPING.evidence(Request(round=1, replicas=((1.0, 4),))).candidates
    candidates = tuple(
        replace(pattern, value=value, relative_pd=interval(pd, 0.0, 4))
        for value, pd in zip(values, pds, strict=True)
    )
    known = dict(zip(values, pds, strict=True))
    return request, Evidence(
        candidates=candidates,
        pd_ratio=lambda one, other: interval(known[one] / known[other], half, 4),
    )


def test_contenders_far_apart_get_replicas_before_the_next_round_looks_closer():
    request, evidence = meeting(0.05, 0.09, 0.09, 0.09, 0.051, half=0.1)

    later = decide(config(), request, evidence, evenly)

    assert later == replace(request, replicas=((0.05, 8), (0.1, 4), (0.2, 4), (0.4, 4), (0.8, 8)))


def test_between_contenders_that_are_neighbours_the_next_round_looks_closer_at_once():
    request, evidence = meeting(0.09, 0.05, 0.051, 0.09, 0.09, half=0.1)

    later = decide(config(), request, evidence, evenly)

    new = sorted(set(dict(later.replicas)) - set(dict(request.replicas)))
    assert later.round == 2
    assert set(dict(later.replicas).values()) == {4}
    assert 0.05 < new[0] < new[-1] < 0.4
