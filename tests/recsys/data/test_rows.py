from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.support.rows import bag_of, bags, lists_of, plain, random_rows


@given(bags().filter(len), st.data())
def test_bags_are_taken_in_the_order_asked_for(lists, data):
    positions = data.draw(st.lists(st.integers(0, len(lists) - 1), max_size=30))

    taken = bag_of(lists).take(np.array(positions, np.int64))

    assert lists_of(taken) == [lists[position] for position in positions]
    assert taken.values.dtype == np.int32
    assert taken.offsets.dtype == np.int64
    assert taken.offsets[0] == 0


@given(bags())
def test_a_bag_is_as_long_as_it_has_rows(lists):
    assert len(bag_of(lists)) == len(lists)


def test_rows_are_taken_whole():
    rows = random_rows(10)

    taken = rows.take(np.array([7, 0, 7]))

    assert plain(taken) == [plain(rows)[row] for row in (7, 0, 7)]
    assert len(taken) == 3
