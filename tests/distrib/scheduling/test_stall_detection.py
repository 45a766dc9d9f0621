"""Trainings that are stuck."""

from __future__ import annotations

from distrib.scheduling.stall_detection import StallDetector


def test_a_training_without_progress_is_stuck_once_patience_is_over():
    watch = StallDetector(10)

    readings = [watch.stalled({"a": 5}, now_s) for now_s in (0, 10, 10.5)]

    assert readings == [[], [], ["a"]]


def test_progress_however_small_starts_the_clock_again():
    watch = StallDetector(10)

    readings = [watch.stalled({"a": 5 + now_s // 9}, now_s) for now_s in (0, 9, 18, 27)]

    assert readings == [[], [], [], []]


def test_a_training_that_begins_late_is_not_stuck_for_what_it_waited():
    watch = StallDetector(10)
    watch.stalled({}, 0)

    assert watch.stalled({"a": 0}, 100) == []
    assert watch.stalled({"a": 0}, 111) == ["a"]


def test_one_that_is_stuck_says_nothing_of_the_others():
    watch = StallDetector(10)
    watch.stalled({"a": 1, "b": 1}, 0)

    assert watch.stalled({"a": 1, "b": 2}, 11) == ["a"]
