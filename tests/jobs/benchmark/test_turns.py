"""Contestants take turns, and ratios within a turn are judged."""

from __future__ import annotations

import io
import itertools

import pytest
from rich.console import Console

from jobs.benchmark import _turns
from jobs.benchmark._turns import Clock, Goal, verdicts


def printed(table) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(table)
    return console.file.getvalue()


def test_a_rate_is_of_the_second_half(monkeypatch):
    # Four batches of 10 examples; the first takes ten times as long as the others.
    moments = iter([0.0, 10.0, 11.0, 12.0, 13.0])
    monkeypatch.setattr(_turns.time, "perf_counter", lambda: next(moments))
    clock = Clock()

    for _ in itertools.repeat(None, 5):
        clock(10)

    assert clock.rate() == 10.0


@pytest.mark.parametrize(
    ("rates", "verdict"), [((3.0, 9.0, 4.0), "reached"), ((1.0, 9.0, 1.5), "missed")]
)
def test_the_median_of_the_ratios_within_turns_is_judged(rates, verdict):
    turns = [{"ours": ours, "theirs": 1.0} for ours in rates]

    shown = printed(verdicts(turns, [Goal(of="ours", to="theirs", at_least=2.0)]))

    assert f"{sorted(rates)[1]:.2f} [{min(rates):.2f}, {max(rates):.2f}]" in shown
    assert verdict in shown


def test_a_goal_whose_contestant_is_not_there_is_left_open():
    shown = printed(verdicts([{"ours": 1.0}], [Goal(of="ours", to="absent", at_least=2.0)]))

    assert "not measured" in shown
