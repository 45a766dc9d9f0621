"""Recovery is measured from reported progress."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.benchmark.engines import Progress, recovery_table
from recsys.errors import ConfigError


def progress(*moments: float) -> Progress:
    """Return progress of 100 examples at each moment."""
    found = Progress()
    for moment in moments:
        found.add(moment, 100)
    return found


def test_full_speed_is_recovered_at_the_end_of_the_first_span_that_is_fast_enough() -> None:
    steady = [0.5 * n for n in range(1, 21)]  # 200 a second until 10
    seen = progress(*steady, 14.0, 15.0, *(16 + 0.5 * n for n in range(1, 9)))

    assert seen.rate(5, 10) == pytest.approx(200)
    assert seen.recovered_at(200, killed=10, now=15.9, span_s=2) is None
    assert seen.recovered_at(200, killed=10, now=20, span_s=2) == pytest.approx(18, abs=0.21)
    assert seen.longest_gap(10, 18) == pytest.approx(4)


def test_the_speed_before_is_that_of_the_time_in_which_there_was_progress() -> None:
    seen = progress(8.0, 9.0, 10.0)

    assert seen.rate(5, 10) == pytest.approx(100)


def test_nothing_is_killed_in_a_cluster(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")

    with pytest.raises(ConfigError, match="RAY_ADDRESS: found a cluster"):
        recovery_table(None, tmp_path, 16, 2)  # type: ignore[arg-type]
