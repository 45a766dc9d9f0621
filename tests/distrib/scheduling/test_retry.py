"""What becomes of a group that did not finish."""

from __future__ import annotations

import pytest

from distrib.scheduling.group_task import WORKER_DEATHS, Decision, GroupOutcome, decide, stopped_by


@pytest.mark.parametrize("deaths", [0, 1, 100])
def test_a_nodes_death_is_always_forgiven(deaths):
    assert decide(GroupOutcome.NODE_DIED, worker_deaths=deaths, trials=1) is Decision.RETRY


@pytest.mark.parametrize("ending", [GroupOutcome.WORKER_DIED, GroupOutcome.STALLED])
def test_a_worker_that_dies_or_is_stuck_is_forgiven_twice(ending):
    decisions = [decide(ending, worker_deaths=n, trials=1) for n in (1, 2, 3)]

    assert WORKER_DEATHS == 2
    assert decisions == [Decision.RETRY, Decision.RETRY, Decision.GIVE_UP]


def test_a_group_whose_worker_keeps_dying_is_split():
    assert decide(GroupOutcome.WORKER_DIED, worker_deaths=3, trials=2) is Decision.SPLIT


def test_a_trials_own_error_is_not_tried_again():
    assert decide(GroupOutcome.OWN_ERROR, worker_deaths=0, trials=1) is Decision.GIVE_UP


def test_a_group_is_split_so_that_one_replicas_error_takes_no_other_with_it():
    assert decide(GroupOutcome.OWN_ERROR, worker_deaths=0, trials=6) is Decision.SPLIT


def test_bad_input_is_bad_for_the_whole_group():
    assert decide(GroupOutcome.BAD_INPUT, worker_deaths=0, trials=6) is Decision.GIVE_UP


def test_what_is_kept_of_an_error_holds_no_credentials():
    try:
        raise RuntimeError("MLflow at 'http://user:SEC/RET@host' failed")
    except RuntimeError as error:
        why = stopped_by(error, GroupOutcome.OWN_ERROR)

    assert why.reason == "RuntimeError: MLflow at 'http://host' failed"
    assert "RuntimeError: MLflow at 'http://host' failed" in why.text.splitlines()
