"""Snapshots: whole or not there, never another's, the newest first."""

from __future__ import annotations

import json

import numpy as np
import pytest

from distrib.async_engine.snapshots import (
    FORMAT,
    Manifest,
    finish,
    newest_manifest,
    read_progress,
    read_shards,
    snapshot_name,
    write_shard,
)
from distrib.store.parameters import Parameters
from distrib.store.shard import Served, ShardState, Version
from recsys.errors import DataError


def state(seed: int) -> ShardState:
    rng = np.random.default_rng(seed)
    return ShardState(
        parameters=Parameters(
            slabs=(rng.random((3, 2), np.float32), rng.random((4, 5), np.float32)),
            dense=rng.random((2, 6), np.float32),
        ),
        version=Version(updates=2, examples=64),
        applied={0: (0, 32), 1: (3, 32)},
        order=(Served(lease=3, window=1, is_push=True, applied=True, carried=0),),
    )


def manifest(windows: int, run: str = "mine") -> Manifest:
    return Manifest(format=FORMAT, trial="t", run=run, phase=0, windows=windows, leases=9, shards=2)


def write(root: str, windows: int, run: str = "mine") -> None:
    for shard in range(2):
        write_shard(root, snapshot_name(0, windows), shard, state(windows + shard))
    finish(root, manifest(windows, run), {"windows": windows})


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_what_is_read_is_what_was_written(tmp_path, scheme) -> None:
    root = f"{scheme}{tmp_path}/snapshots"

    write(root, 20)

    newest = newest_manifest(root)
    assert newest == manifest(20)
    assert read_progress(root, newest) == {"windows": 20}
    for shard, found in enumerate(read_shards(root, newest)):
        expected = state(20 + shard)
        for a, b in zip(found.parameters.slabs, expected.parameters.slabs, strict=True):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(found.parameters.dense, expected.parameters.dense)
        assert (found.version, found.applied) == (expected.version, expected.applied)
        assert found.order == expected.order


def test_there_is_none_where_nothing_was_written(tmp_path) -> None:
    assert newest_manifest(str(tmp_path / "nowhere")) is None


def test_a_snapshot_whose_writer_died_is_passed_over(tmp_path) -> None:
    write(str(tmp_path), 20)
    write_shard(str(tmp_path), snapshot_name(0, 40), 0, state(0))

    assert newest_manifest(str(tmp_path)) == manifest(20)


def test_the_last_two_are_kept(tmp_path) -> None:
    for windows in (10, 20, 30):
        write(str(tmp_path), windows)

    assert sorted(path.name for path in tmp_path.iterdir()) == [
        snapshot_name(0, 20),
        snapshot_name(0, 30),
    ]


def test_two_runs_in_one_place_are_refused(tmp_path) -> None:
    write(str(tmp_path), 20, run="other")

    with pytest.raises(DataError, match="expected one run in one place"):
        finish(str(tmp_path), manifest(20), {})


def test_a_snapshot_of_another_format_is_refused(tmp_path) -> None:
    write(str(tmp_path), 20)
    path = tmp_path / snapshot_name(0, 20) / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": FORMAT + 1}))

    with pytest.raises(DataError, match=f"found snapshot format {FORMAT + 1}, expected {FORMAT}"):
        newest_manifest(str(tmp_path))


def test_a_cut_off_shard_is_refused(tmp_path) -> None:
    write(str(tmp_path), 20)
    path = tmp_path / snapshot_name(0, 20) / "shard-1.npz"
    path.write_bytes(path.read_bytes()[:100])

    with pytest.raises(DataError, match=r"shard-1.npz: not a whole shard"):
        read_shards(str(tmp_path), manifest(20))
