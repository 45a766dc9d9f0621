"""Routes: parts of a change meet the right rows, and one's own change is carried over exactly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distrib.parameter_store.layout import Route, apply_own_delta
from distrib.parameter_store.shard import Parameters, Push, Shard, Version, fresh, part_of

ROWS = 23


def parameters(seed: int, rows: int = ROWS) -> Parameters:
    rng = np.random.default_rng(seed)
    return Parameters(
        slabs=(rng.random((rows, 5), np.float32),), dense=rng.random((2, 7), np.float32)
    )


def store(shards: int) -> list[Shard]:
    return [Shard(fresh(part_of(parameters(0), shard, shards))) for shard in range(shards)]


def pull(shards: list[Shard], route: Route) -> Parameters:
    return route.join(
        [shard.pull(rows).parameters for shard, rows in zip(shards, route.rows, strict=True)]
    )


def push(shards: list[Shard], route: Route, change: Parameters) -> None:
    for number, shard in enumerate(shards):
        pushed = Push(window=0, lease=0, examples=1, since=Version(updates=0, examples=0))
        shard.push(pushed, route.rows[number], route.part(change, number))


@pytest.mark.parametrize("shards", [1, 2, 5])
def test_a_window_is_pulled_whole_from_any_number_of_shards(shards) -> None:
    rows = np.array([0, 1, 4, 9, 10, 22])
    route = Route.of((rows,), shards)

    pulled = pull(store(shards), route)

    np.testing.assert_array_equal(pulled.slabs[0], parameters(0).slabs[0][rows])
    np.testing.assert_array_equal(pulled.dense, parameters(0).dense)
    pulled.slabs[0][:] = 0  # its own memory


@given(
    changed=st.sets(st.integers(0, ROWS - 1)),
    wanted=st.sets(st.integers(0, ROWS - 1)),
    shards=st.integers(1, 3),
)
def test_a_carried_change_is_to_the_bit_what_the_shards_make_of_it(changed, wanted, shards) -> None:
    first = Route.of((np.array(sorted(changed), np.int64),), shards)
    second = Route.of((np.array(sorted(wanted), np.int64),), shards)
    change = parameters(1, rows=len(changed))
    servers = store(shards)

    early = pull(servers, second)
    push(servers, first, change)
    apply_own_delta(early, second, change, first)

    late = pull(servers, second)
    np.testing.assert_array_equal(early.slabs[0], late.slabs[0])
    np.testing.assert_array_equal(early.dense, late.dense)
