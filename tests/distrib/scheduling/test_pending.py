"""Trainings that wait for a node."""

from __future__ import annotations

import pytest

from distrib.scheduling.resources import Reservation
from distrib.scheduling.stall_detection import PendingDetector, fits, node_request

ONE = {"CPU": 1.0}


def test_a_training_that_waits_for_long_is_told_of_once():
    watch = PendingDetector(10)

    told = [watch.overdue({"a": ONE}, now_s) for now_s in (0, 10, 10.5, 30)]

    assert told == [[], [], ["a"], []]


def test_one_that_has_begun_or_begins_to_wait_is_not_told_of():
    watch = PendingDetector(10)
    watch.overdue({"begun": ONE}, 0)

    assert watch.overdue({"late": ONE}, 11) == []


@pytest.mark.parametrize(
    ("asked", "has_room"),
    [
        ({"CPU": 4.0}, True),
        ({"CPU": 5.0}, False),
        ({"CPU": 2.0, "GPU": 1.0}, True),
        ({"CPU": 4.0, "GPU": 1.0}, False),
        ({"CPU": 1.0, "spott": 1.0}, False),
        ({"CPU": 1.0, "GPU": 0.0, "spot": 1.0}, True),
    ],
)
def test_a_process_has_room_where_one_node_has_all_that_it_asks(asked, has_room):
    assert fits(asked, [{"CPU": 4, "spot": 4}, {"CPU": 2, "GPU": 1}]) is has_room


@pytest.mark.parametrize(
    ("strategy", "asked"), [("PACK", {"CPU": 2.0}), ("STRICT_PACK", {"CPU": 6.0})]
)
def test_workers_that_share_a_memory_ask_for_one_node_together(strategy, asked):
    reserved = Reservation(bundles=({"CPU": 2.0},) * 3, strategy=strategy)

    assert node_request(ONE, reserved) == asked
    assert node_request(ONE, None) == ONE
