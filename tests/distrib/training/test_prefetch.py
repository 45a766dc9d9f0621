"""Items made ahead by a thread are those that would have been made on demand."""

from __future__ import annotations

import itertools
import threading

import pytest

from distrib.training.device_transfer import Prefetched


def test_prefetched_items_come_whole_and_in_order():
    with Prefetched(range(100)) as items:
        assert list(items) == list(range(100))
        assert list(items) == []


def test_what_the_thread_raises_is_raised_where_its_item_would_have_been():
    def items():
        yield 1
        raise OSError("gone")

    with Prefetched(items()) as fetched:
        assert next(fetched) == 1
        with pytest.raises(OSError, match="gone"):
            next(fetched)


def test_leaving_early_ends_the_thread():
    with Prefetched(itertools.count()) as items:
        next(items)

    assert not any(thread.name == "prefetch" for thread in threading.enumerate())
