"""How far a training is, in words."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from distrib.scheduling.status import Status
from jobs.progress import Display, describe


def status(**changes: float) -> Status:
    values = {
        "trials_done": 0,
        "trials_failed": 0,
        "trials": 8,
        "examples_done": 0,
        "work_done": 0.0,
        "work": 1000,
    }
    return Status(**(values | changes))


@pytest.mark.parametrize(
    ("changes", "elapsed_s", "words"),
    [
        ({}, 3, "0/8 trials"),
        ({"examples_done": 4000, "work_done": 250}, 10, "0/8 trials, 400 examples/s, 0:30 left"),
        (
            {"trials_done": 4, "trials_failed": 1, "examples_done": 36_000_000, "work_done": 500},
            7200,
            "4/8 trials, 1 failed, 5,000 examples/s, 2:00:00 left",
        ),
        (
            {"trials_done": 8, "examples_done": 4000, "work_done": 1000},
            2,
            "8/8 trials, 2,000 examples/s",
        ),
    ],
)
def test_a_status_in_words(changes, elapsed_s, words):
    assert describe(status(**changes), elapsed_s) == words


def test_where_there_is_no_terminal_the_end_is_told_once_in_a_plain_line():
    written = io.StringIO()

    with Display(Console(file=written)) as display:
        display(status())
        display(status(trials_done=7, trials_failed=1))
        display(status(trials_done=7, trials_failed=1))

    assert written.getvalue() == "7/8 trials, 1 failed\n"
