"""The journal: who holds a window, where it stands, and what is known of it after any death."""

from __future__ import annotations

import pytest

from distrib.engines.asynchronous.leases import Staleness
from distrib.parameter_store.shared_journal import Counted, Fenced, Journal
from distrib.parameter_store.shared_segment import Plan, Segment
from distrib.scheduling.processes import own_name
from distrib.training.windows import Windows
from recsys.errors import ConfigError

WINDOWS = Windows(7, 3)
FRESH = Staleness(updates=0, examples=0)


@pytest.fixture
def journal():
    segment = Segment.create(Plan(Journal.fields(WINDOWS, workers=2, measurements=2)), "run")
    yield Journal(segment, WINDOWS)
    segment.close()


def train(journal: Journal, held, place: int = 0, loss: float = 1.0, stale: Staleness = FRESH):
    journal.begin(held, loss, stale)
    journal.end(held, place, examples=10)


def test_a_window_goes_on_where_its_last_holder_stood(journal) -> None:
    first = journal.take(WINDOWS[1], lease=0)
    train(journal, first)
    train(journal, first)

    second = journal.take(WINDOWS[1], lease=5)

    assert (first.next_batch, second.next_batch) == (5, 5)
    assert not second.is_through


def test_a_batch_in_whose_update_the_holder_died_counts_as_torn_and_done(journal) -> None:
    first = journal.take(WINDOWS[0], lease=0)
    train(journal, first)
    journal.begin(first, 2.0, FRESH)

    second = journal.take(WINDOWS[0], lease=1)
    journal.begin(second, 3.0, FRESH)
    third = journal.take(WINDOWS[0], lease=2)
    record = journal.record(third, (0, 0))

    assert (second.next_batch, third.is_through) == (2, True)
    assert record.torn == 2
    assert record.losses == 6.0


def test_who_was_taken_for_dead_can_do_nothing_more(journal) -> None:
    slow = journal.take(WINDOWS[0], lease=3)
    journal.take(WINDOWS[0], lease=4)

    with pytest.raises(Fenced):
        journal.begin(slow, 1.0, FRESH)
    with pytest.raises(Fenced):
        journal.take(WINDOWS[0], lease=3)
    assert journal.take(WINDOWS[0], lease=5).next_batch == 0


def test_who_was_taken_for_dead_cannot_record(journal) -> None:
    slow = journal.take(WINDOWS[2], lease=3)
    train(journal, slow)
    journal.take(WINDOWS[2], lease=4)

    with pytest.raises(Fenced):
        journal.record(slow, (0, 0))
    assert journal.recorded() == []


def test_a_window_that_is_recorded_stays_so_for_who_takes_it_again(journal) -> None:
    held = journal.take(WINDOWS[2], lease=0)
    train(journal, held, loss=0.5, stale=Staleness(updates=4, examples=40))
    journal.record(held, (1.5, 2))

    again = journal.take(WINDOWS[2], lease=1)

    assert again.is_through
    assert journal.recorded() == [2]
    record = journal.record(again, (1.5, 2))
    assert record == journal.record_of(WINDOWS[2])
    assert (record.losses, record.staleness) == (0.5, (Staleness(updates=4, examples=40),))
    assert (record.measurements, record.torn) == ((1.5, 2.0), 0)


def test_what_others_applied_is_the_sum_over_all_but_oneself(journal) -> None:
    mine, theirs = journal.take(WINDOWS[0], lease=0), journal.take(WINDOWS[1], lease=1)
    train(journal, mine, place=0)
    before = journal.others(0)
    train(journal, theirs, place=1)
    train(journal, theirs, place=1)

    assert before == Counted(updates=0, examples=0)
    assert journal.others(0) == Counted(updates=2, examples=20)
    assert journal.others(1) == Counted(updates=1, examples=10)


def test_leases_go_on_beyond_those_that_were_used(journal) -> None:
    assert journal.leases() == 0

    journal.take(WINDOWS[1], lease=8)

    assert journal.leases() == 9


def test_who_entered_last_at_a_place_is_known(journal) -> None:
    assert journal.process(1) is None

    journal.enter(1, own_name())

    assert journal.process(1) == own_name()
    assert journal.process(0) is None


def test_windows_trained_before_the_memory_was_are_recorded(journal) -> None:
    journal.start_after(range(2))

    assert journal.recorded() == [0, 1]


def test_windows_of_more_batches_than_can_be_counted_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"engine.window: found 20000000 batches"):
        Journal.fields(Windows(30_000_000, 20_000_000), workers=1, measurements=0)


def test_a_stream_of_more_batches_than_can_be_counted_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"stream.batch_size: found 200000000 batches"):
        Journal.fields(Windows(200_000_000, 10), workers=1, measurements=0)
