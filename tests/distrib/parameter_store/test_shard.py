"""A shard: each window once, staleness counted, parts joined, state restored."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest

from distrib.engines.asynchronous.leases import Staleness
from distrib.parameter_store.shard import (
    Parameters,
    Push,
    Shard,
    Version,
    dense_span,
    fresh,
    join,
    part_of,
    rows_by_shard,
)


def parameters(rows: int = 6, dense: int = 5, seed: int = 0) -> Parameters:
    rng = np.random.default_rng(seed)
    return Parameters(
        slabs=tuple(rng.random((rows + i, 3 + i), np.float32) for i in range(2)),
        dense=rng.random((2, dense), np.float32),
    )


def ones(rows: list[np.ndarray], dense: int = 5) -> Parameters:
    return Parameters(
        slabs=tuple(np.ones((len(r), 3 + i), np.float32) for i, r in enumerate(rows)),
        dense=np.ones((2, dense), np.float32),
    )


def push(window: int, lease: int = 0, since: int = 0, **fields) -> Push:
    version = Version(updates=since, examples=10 * since)
    return Push(window=window, lease=lease, examples=10, since=version, **fields)


ROWS = [np.array([1, 4]), np.array([0])]


def test_a_pull_brings_copies_of_the_rows_asked_for() -> None:
    whole = parameters()
    shard = Shard(fresh(whole))

    pulled = shard.pull(ROWS).parameters
    pulled.slabs[0][:] = 7
    pulled.dense[:] = 7

    np.testing.assert_array_equal(shard.pull(ROWS).parameters.slabs[0], whole.slabs[0][[1, 4]])
    assert not (shard.pull(ROWS).parameters.dense == 7).any()


def test_a_push_adds_to_its_rows_alone() -> None:
    before = parameters()
    shard = Shard(fresh(parameters()))

    shard.push(push(0), ROWS, ones(ROWS))

    after = shard.state().parameters
    changed = np.zeros((6, 3))
    changed[[1, 4]] = 1
    np.testing.assert_allclose(after.slabs[0] - before.slabs[0], changed, atol=1e-6)
    np.testing.assert_allclose(after.dense - before.dense, 1, atol=1e-6)


def test_a_window_pushed_twice_is_applied_once() -> None:
    shard = Shard(fresh(parameters()))
    shard.push(push(3, lease=1), ROWS, ones(ROWS))
    once = deepcopy(shard.state())

    assert shard.push(push(3, lease=2), ROWS, ones(ROWS)) is None

    np.testing.assert_array_equal(shard.peek().slabs[0], once.parameters.slabs[0])
    assert shard.version == Version(updates=1, examples=10)
    assert shard.windows == {3}


def test_read_only_arrays_are_served_as_others() -> None:
    shard = Shard(fresh(parameters()))
    change = ones(ROWS)
    change.slabs[0].flags.writeable = False

    assert shard.push(push(0), ROWS, change) == Staleness(updates=0, examples=0)


def test_staleness_is_what_others_applied_since_the_pull() -> None:
    shard = Shard(fresh(parameters()))
    for window in range(3):
        shard.push(push(window, lease=window, since=window), ROWS, ones(ROWS))

    assert shard.push(push(3, lease=3, since=1), ROWS, ones(ROWS)) == Staleness(
        updates=2, examples=20
    )


def test_a_workers_own_change_that_it_carried_makes_nothing_stale() -> None:
    shard = Shard(fresh(parameters()))
    shard.push(push(0, lease=5), ROWS, ones(ROWS))

    carried = shard.push(push(1, lease=6, carried=(0, 5)), ROWS, ones(ROWS))
    of_another = shard.push(push(2, lease=7, carried=(0, 6)), ROWS, ones(ROWS))

    assert carried == Staleness(updates=0, examples=0)
    assert of_another == Staleness(updates=2, examples=20)


def test_a_restored_shard_goes_on_where_the_snapshot_was_taken() -> None:
    shard = Shard(fresh(parameters()))
    shard.push(push(0), ROWS, ones(ROWS))
    snapshot = deepcopy(shard.state())
    shard.push(push(1), ROWS, ones(ROWS))

    restored = Shard(snapshot)

    assert restored.push(push(0), ROWS, ones(ROWS)) is None
    restored.push(push(1, since=1), ROWS, ones(ROWS))
    for a, b in zip(restored.peek().slabs, shard.peek().slabs, strict=True):
        np.testing.assert_array_equal(a, b)
    assert restored.version == shard.version


def test_the_order_log_tells_pulls_and_pushes_as_served() -> None:
    shard = Shard(fresh(parameters()), record=True)
    shard.pull(ROWS, window=4, lease=9)
    shard.push(push(4, lease=9, carried=(3, 8)), ROWS, ones(ROWS))
    shard.push(push(4, lease=10), ROWS, ones(ROWS))

    told = [(s.lease, s.is_push, s.applied, s.carried) for s in shard.order]
    assert told == [(9, False, False, -1), (9, True, True, 8), (10, True, False, -1)]


@pytest.mark.parametrize("shards", [1, 2, 3, 7])
def test_parts_of_all_shards_join_to_the_whole(shards) -> None:
    whole = parameters(rows=11, dense=5)

    joined = join([part_of(whole, shard, shards) for shard in range(shards)])

    for a, b in zip((*joined.slabs, joined.dense), (*whole.slabs, whole.dense), strict=True):
        np.testing.assert_array_equal(a, b)
    assert dense_span(5, shards - 1, shards)[1] == 5


@pytest.mark.parametrize("shards", [1, 3])
def test_rows_are_found_on_the_shard_that_they_are_dealt_to(shards) -> None:
    whole = parameters(rows=11)
    rows = np.array([0, 2, 3, 7, 10])

    for shard, at in enumerate(rows_by_shard(rows, shards)):
        part = part_of(whole, shard, shards).slabs[0]
        np.testing.assert_array_equal(part[rows[at] // shards], whole.slabs[0][rows[at]])
