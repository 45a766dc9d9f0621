"""The answer as a person reads it, whatever it is."""

from __future__ import annotations

from dataclasses import replace

from rich.console import Console

from jobs.tuning import messages as words
from jobs.tuning.policy import Candidate, Outcome, Verdict
from tests.support.searches import config, interval

CONFIG = config(max_replicas=8)


def candidate(value: float, loss: float = 0.0, half: float = 0.0005, pd: float = 0.07) -> Candidate:
    return Candidate(
        value=value,
        replicas=8,
        log_loss=interval(loss, half, 8),
        relative_pd=interval(pd, 0.005, 8),
        pd_ratio=interval(pd / 0.12, 0.04, 8),
    )


def verdict(outcome: Outcome, best: Candidate, *rivals: Candidate) -> Verdict:
    candidates = (candidate(0.05), best, *rivals, candidate(8.0, 0.02))
    return Verdict(
        outcome=outcome, best=best, rivals=rivals, between=(0.05, 8.0), candidates=candidates
    )


def answer(found: Verdict, confirmed: Candidate | None = None) -> str:
    return " ".join(words.answer(CONFIG, "relu", found, confirmed))


def test_a_winner_is_told_with_its_intervals_and_its_neighbours():
    told = answer(verdict(Outcome.FOUND, candidate(1.2)))

    assert told.startswith(
        "smelu with activation.beta = 1.2 has the smallest relative PD of 3 values from 0.05 to 8 "
        "whose log loss is not worse than relu's by more than 0.001: log loss differs by 0.0000 "
        "(−0.0005 to 0.0005), relative PD is 7.0 % (6.5 to 7.5), 0.58 (0.54 to 0.62) times relu's"
    )
    assert "No other value between 0.05 and 8 was tried." in told


def test_an_interval_taken_alone_says_that_it_flatters():
    told = answer(verdict(Outcome.FOUND, candidate(1.2)))

    assert "correct neither for the selection among 3 values nor for repeated looks" in told


def test_a_confirmation_is_told_with_its_own_intervals():
    told = answer(verdict(Outcome.FOUND, candidate(1.2)), candidate(1.2, 0.0003, pd=0.08))

    assert "Confirmed: the log loss is within ε, on 8 new replicas" in told
    assert "log loss differs by 0.0003" in told
    assert "optimistic" not in told


def test_how_a_confirmed_winner_is_exported_is_said():
    confirmed = candidate(1.2)

    told = words.exporting(CONFIG, confirmed, "results/confirmation")
    failed = words.exporting(CONFIG, replace(confirmed, failed="diverged"), "results/confirmation")

    assert told.endswith("soloist export results/confirmation --arm smelu@1.2 --output DIR")
    assert failed == words.exporting(CONFIG, None, "") != told


def test_the_export_of_a_users_own_model_names_it():
    told = words.exporting(CONFIG, candidate(1.2), "results", "my_models:make")

    assert "--arm smelu@1.2 --model my_models:make --output" in told


def test_a_winner_that_fresh_replicas_do_not_confirm_is_said_so():
    found = verdict(Outcome.FOUND, candidate(1.2))

    worse = answer(found, candidate(1.2, 0.01))
    open_ = answer(found, candidate(1.2, 0.001))
    failed = answer(found, replace(candidate(1.2), failed="diverged"))

    assert "Not confirmed: the log loss is worse by more than ε" in worse
    assert "Not confirmed: the log loss may be worse by more than ε" in open_
    assert "could not be confirmed on new replicas: diverged" in failed


def test_a_pd_that_may_be_no_smaller_than_the_baselines_is_said_so_by_what_is_quoted():
    found = verdict(Outcome.FOUND, candidate(1.2))

    assert "not significantly smaller" not in answer(found)
    assert "not significantly smaller than relu's: the ratio is 0.98 (0.94 to 1.02)." in answer(
        found, candidate(1.2, pd=0.118)
    )


def test_rivals_are_named_by_what_is_not_known_of_them():
    told = answer(verdict(Outcome.FOUND, candidate(1.2), candidate(1.5), candidate(1.9, 0.001)))

    assert "The relative PD of 1.5, 7.0 % (6.5 to 7.5), is not significantly different with" in told
    assert "Whether the log loss of 1.9 is within ε is undecided with 8 replicas" in told


def test_a_winner_at_an_end_of_the_range_asks_for_a_wider_one():
    told = answer(verdict(Outcome.FOUND, candidate(8.0)))

    assert "a wider range may contain a better value" in told


def test_where_nothing_is_within_epsilon_the_nearest_is_told_with_intervals():
    told = answer(verdict(Outcome.NONE_FEASIBLE, candidate(1.2, 0.004)))

    assert told.startswith("No value found: none of 3 values from 0.05 to 8")
    assert "The nearest is 1.2: log loss differs by 0.0040 (0.0035 to 0.0045)" in told


def test_where_all_failed_that_is_all_there_is_to_tell():
    lost = replace(candidate(1.2), failed="diverged")
    found = Verdict(
        outcome=Outcome.NONE_FEASIBLE,
        best=None,
        rivals=(),
        between=(None, None),
        candidates=(lost,),
    )

    assert answer(found) == "No value found: every training of 1 values from 0.05 to 8 failed."


def test_what_cannot_be_told_names_who_may_have_it_and_what_would_settle_it():
    rival = candidate(1.2, 0.001, half=0.003)

    told = answer(verdict(Outcome.UNDECIDED, rival, rival))

    assert told.startswith("Undecided with 8 replicas")
    assert "and one may have. 1.2: log loss differs by 0.0010 (−0.0020 to 0.0040)" in told
    assert "search.max_replicas" in told


def test_the_table_shows_every_value_with_its_judgement():
    found = verdict(Outcome.FOUND, candidate(1.2), candidate(1.9, 0.001))
    console = Console(width=140)

    with console.capture() as captured:
        console.print(words.table(CONFIG, found))

    judged = [line.rstrip()[-9:].strip() for line in captured.get().splitlines()[2:]]
    assert judged == ["within ε", "within ε", "undecided", "above ε"]
