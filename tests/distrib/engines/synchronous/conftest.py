"""Two ranks for all tests of the synchronous engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.ranks import Pool


@pytest.fixture(scope="package")
def pool() -> Iterator[Pool]:
    """Start two ranks, and end them after the last test."""
    started = Pool(2)
    yield started
    started.close()
