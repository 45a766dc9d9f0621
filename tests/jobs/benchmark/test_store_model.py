"""The model of the store: what limits it, and how many shards it takes."""

from __future__ import annotations

import pytest
from numpy.polynomial import Polynomial

from jobs.benchmark.store_model import NETWORK_BYTES_PER_S, StoreModel, Usage

MODEL = StoreModel(
    shard=Polynomial([0.001, 1e-9]),
    worker=Polynomial([0.002, 1e-9]),
    machine=Polynomial([0.004, 4e-9]),
    dispatcher_s=0.0005,
)
MB = 1e6


def use(size: float, windows: int) -> Usage:
    """Return what lone workers' windows of a size use, so that the model fits exactly."""
    return Usage(
        windows=windows,
        shard=MODEL.shard(size) * windows,
        worker=MODEL.worker(size) * windows,
        dispatcher=MODEL.dispatcher_s * windows,
        machine=MODEL.machine(size) * windows,
        seconds=1.0,
    )


def test_what_costs_a_fixed_part_and_a_part_for_each_byte_is_found_to() -> None:
    fitted = StoreModel.fit({size: use(size, 5).per_window() for size in (1 * MB, 4 * MB, 16 * MB)})

    assert fitted.shard(7 * MB) == pytest.approx(MODEL.shard(7 * MB))
    assert fitted.machine(7 * MB) == pytest.approx(MODEL.machine(7 * MB))
    assert fitted.dispatcher_s == pytest.approx(MODEL.dispatcher_s)


@pytest.mark.parametrize(
    ("workers", "cores", "limit"),
    [
        (1, 64, 1 / (0.1 + 0.002 + 0.01)),  # the worker
        (1000, 64, 1 / (0.001 + 0.01)),  # the shard
        (1000, 1, 1 / (0.004 + 0.04)),  # the machine
    ],
)
def test_the_least_of_three_limits_decides(workers, cores, limit) -> None:
    rate = MODEL.rate(10 * MB, workers=workers, shards=1, compute_s=0.1, cores=cores)

    assert rate == pytest.approx(limit)


def test_a_cluster_gets_the_fewest_shards_that_suffice() -> None:
    found = MODEL.cluster(10 * MB, workers=30, compute_s=0.1)

    assert found.limit == "workers"
    assert found.fed == 1
    assert 1 / MODEL.shard_s(10 * MB, found.shards) >= found.wanted
    assert 1 / MODEL.shard_s(10 * MB, found.shards - 1) < found.wanted


def test_shards_do_not_help_against_the_cost_of_calls() -> None:
    found = MODEL.cluster(10 * MB, workers=10_000, compute_s=0.1)

    assert found.limit == "shard calls"
    assert found.fed == pytest.approx(1 / MODEL.shard_s(10 * MB, found.shards) / found.wanted)
    assert found.fed < 0.02


def test_the_network_limits_where_it_is_slower_than_the_shard() -> None:
    free = StoreModel(
        shard=Polynomial([0, 0]),
        worker=MODEL.worker,
        machine=MODEL.machine,
        dispatcher_s=0.0001,
    )

    assert free.shard_s(2 * NETWORK_BYTES_PER_S, 4) == pytest.approx(0.25)
