"""Contestants alternate, and goals are judged on the ratios within a turn."""

from __future__ import annotations

import io
import itertools

import pytest
from rich.console import Console

from jobs.benchmark import harness
from jobs.benchmark.harness import Goal, Throughput, goals_table, rates_table


def printed(table) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(table)
    return console.file.getvalue()


def test_a_rate_is_of_the_second_half(monkeypatch):
    # Four batches of 10 examples; the first takes ten times as long as the others.
    moments = iter([0.0, 10.0, 11.0, 12.0, 13.0])
    monkeypatch.setattr(harness.time, "perf_counter", lambda: next(moments))
    throughput = Throughput()

    for _ in itertools.repeat(None, 5):
        throughput(10)

    assert throughput.rate() == 10.0


@pytest.mark.parametrize(
    ("rates", "verdict"), [((3.0, 9.0, 4.0), "reached"), ((1.0, 9.0, 1.5), "missed")]
)
def test_the_median_of_the_ratios_within_turns_is_judged(rates, verdict):
    turns = [{"ours": ours, "theirs": 1.0} for ours in rates]

    shown = printed(goals_table(turns, [Goal("ours", "theirs", at_least=2.0)]))

    assert f"{sorted(rates)[1]:.2f} [{min(rates):.2f}, {max(rates):.2f}]" in shown
    assert verdict in shown


def test_a_goal_whose_contestant_did_not_run_stays_open():
    shown = printed(goals_table([{"ours": 1.0}], [Goal("ours", "absent", at_least=2.0)]))

    assert "not measured" in shown


def test_rates_show_their_ratio_to_the_reference():
    turns = [{"local": 100.0, "server": rate} for rate in (50.0, 80.0, 90.0)]

    shown = printed(rates_table(turns, reference="local"))

    assert "100 [100, 100]" in shown
    assert "80 [50, 90]" in shown
    assert "0.80 [0.50, 0.90]" in shown
