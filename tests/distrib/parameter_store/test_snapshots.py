"""Snapshots: whole or not there, never of another version, the newest whole one first."""

from __future__ import annotations

import io
import json
import pickle
from dataclasses import replace

import numpy as np
import pytest

from distrib.parameter_store.shard import (
    Parameters,
    Served,
    ShardState,
    Version,
    digest_of,
    write_shard,
)
from distrib.parameter_store.snapshots import (
    FORMAT,
    SnapshotStore,
    claimed,
    place_name,
    snapshot_name,
)
from distrib.trials.folder import Folder
from distrib.trials.trial import Trial
from recsys.errors import ConfigError, DataError
from recsys.seeds import Source, replica_seeds
from tests.support.logs import small_recipe

MADE_BY = {"code": "c0de", "torch": "2.13.0"}
PLACE = "trial"


def state(windows: int, seed: int) -> ShardState:
    rng = np.random.default_rng(seed)
    return ShardState(
        parameters=Parameters(
            slabs=(rng.random((3, 2), np.float32), rng.random((4, 5), np.float32)),
            dense=rng.random((2, 6), np.float32),
        ),
        version=Version(updates=windows, examples=32 * windows),
        applied={window: (window, 32) for window in range(windows)},
        order=(Served(lease=3, window=1, is_push=True, applied=True, carried=0),),
    )


def place(root: object, made_by: dict[str, str] = MADE_BY) -> SnapshotStore:
    return SnapshotStore(str(root), PLACE, "mine", made_by)


def name_of(windows: int) -> str:
    return snapshot_name(0, windows, "mine")


def write(place: SnapshotStore, windows: int) -> None:
    name = place.begin(0, windows)
    digests = [
        write_shard(place.root, name, shard, state(windows, seed=shard)) for shard in range(2)
    ]
    place.finish(0, windows, leases=9, shards=digests, progress={"windows": windows})


def assert_is(found, windows: int) -> None:
    assert found.manifest.windows == windows
    assert found.progress == {"windows": windows}
    for shard, read in enumerate(found.shards):
        expected = state(windows, seed=shard)
        for a, b in zip(read.parameters.slabs, expected.parameters.slabs, strict=True):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(read.parameters.dense, expected.parameters.dense)
        assert (read.version, read.applied) == (expected.version, expected.applied)
        assert read.order == expected.order


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_what_is_read_is_what_was_written(tmp_path, scheme) -> None:
    root = f"{scheme}{tmp_path}/snapshots"

    write(place(root), 20)

    assert_is(place(root).newest(), 20)


def test_in_an_object_store_it_is_the_same(s3) -> None:
    bucket = s3.new_bucket()
    root = s3.uri(bucket, "snapshots")

    for windows in (10, 20, 30):
        write(place(root), windows)

    assert_is(place(root).newest(), 30)
    kept = {name.split("/")[2] for name in s3.names(bucket) if name.count("/") == 3}
    assert kept == {name_of(20), name_of(30)}


def test_there_is_none_where_nothing_was_written(tmp_path) -> None:
    assert place(tmp_path / "nowhere").newest() is None


def test_a_snapshot_whose_writer_died_is_passed_over(tmp_path) -> None:
    write(place(tmp_path), 20)
    write_shard(str(tmp_path), place(tmp_path).begin(0, 40), 0, state(40, seed=0))

    assert_is(place(tmp_path).newest(), 20)


def test_the_last_two_are_kept(tmp_path) -> None:
    for windows in (10, 20, 30):
        write(place(tmp_path), windows)

    assert sorted(path.name for path in (tmp_path / PLACE).iterdir()) == [
        name_of(20),
        name_of(30),
    ]


@pytest.mark.parametrize("file", ["shard-1.npz", "progress.json", "manifest.json"])
def test_of_a_damaged_snapshot_the_one_before_is_used_and_it_is_told(
    tmp_path, caplog, file
) -> None:
    write(place(tmp_path), 10)
    write(place(tmp_path), 20)
    path = tmp_path / PLACE / name_of(20) / file
    path.write_bytes(path.read_bytes()[:-10])
    reader = place(tmp_path)

    assert_is(reader.newest(), 10)

    (told,) = reader.passed_over
    assert name_of(20) in told
    assert file in told
    assert caplog.messages == [told]


def pickled_array() -> bytes:
    held = io.BytesIO()
    np.savez(held, dense=np.array([{}], object), version=np.zeros(2, np.int64))
    return held.getvalue()


@pytest.mark.parametrize(
    ("file", "field", "content"),
    [
        ("shard-0.npz", "shards", b""),
        ("shard-0.npz", "shards", b"PK"),
        ("shard-0.npz", "shards", pickled_array()),
        ("shard-0.npz", "shards", pickle.dumps({})),
        ("progress.json", "progress", pickle.dumps({})),
        ("progress.json", "progress", b"[" * 100_000),
        ("progress.json", "progress", b"[]"),
    ],
)
def test_a_file_of_another_structure_is_damaged_though_its_checksum_fits(
    tmp_path, file, field, content
) -> None:
    write(place(tmp_path), 10)
    write(place(tmp_path), 20)
    snapshot = tmp_path / PLACE / name_of(20)
    (snapshot / file).write_bytes(content)
    manifest = json.loads((snapshot / "manifest.json").read_text())
    digest = digest_of(content)
    manifest[field] = [digest, manifest[field][1]] if field == "shards" else digest
    (snapshot / "manifest.json").write_text(json.dumps(manifest))
    reader = place(tmp_path)

    assert_is(reader.newest(), 10)

    (told,) = reader.passed_over
    assert file in told
    assert "\n" not in told


@pytest.mark.parametrize("content", ["[" * 100_000, "[]", '{"format": 4}', '{"format": 4, "a": 1}'])
def test_a_manifest_of_another_structure_is_damaged(tmp_path, content) -> None:
    write(place(tmp_path), 10)
    write(place(tmp_path), 20)
    (tmp_path / PLACE / name_of(20) / "manifest.json").write_text(content)

    assert_is(place(tmp_path).newest(), 10)


def test_a_shard_with_a_changed_byte_is_damaged(tmp_path) -> None:
    write(place(tmp_path), 20)
    path = tmp_path / PLACE / name_of(20) / "shard-0.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)

    assert place(tmp_path).newest() is None


def test_a_whole_shard_that_another_wrote_is_damaged(tmp_path) -> None:
    write(place(tmp_path), 20)
    write_shard(str(tmp_path), f"{PLACE}/{name_of(20)}", 1, state(20, seed=7))
    reader = place(tmp_path)

    assert reader.newest() is None
    assert "shard-1.npz (not what was written)" in reader.passed_over[0]


def test_two_runs_that_write_at_once_write_no_file_in_common(tmp_path) -> None:
    mine, other = place(tmp_path), SnapshotStore(str(tmp_path), PLACE, "other", MADE_BY)
    name = mine.begin(0, 20)
    digests = [write_shard(mine.root, name, shard, state(20, seed=shard)) for shard in range(2)]

    write_shard(other.root, other.begin(0, 20), 0, state(20, seed=7))
    mine.finish(0, 20, leases=9, shards=digests, progress={"windows": 20})

    assert_is(place(tmp_path).newest(), 20)


def test_what_was_passed_over_goes_when_the_next_one_is_written(tmp_path) -> None:
    for damaged in (30, 40):
        write(place(tmp_path), damaged)
        (tmp_path / PLACE / name_of(damaged) / "shard-1.npz").write_bytes(b"")
    resumed = SnapshotStore(str(tmp_path), PLACE, "resumed", MADE_BY)

    assert resumed.newest() is None
    write(resumed, 10)
    write(resumed, 20)

    left = [snapshot_name(0, windows, "resumed") for windows in (10, 20)]
    assert sorted(path.name for path in (tmp_path / PLACE).iterdir()) == left
    assert_is(place(tmp_path).newest(), 20)


@pytest.mark.parametrize("unreadable", ["manifest.json", "shard-1.npz", "progress.json"])
def test_a_file_system_that_fails_is_told_and_takes_no_snapshot_for_damaged(
    tmp_path, monkeypatch, unreadable
) -> None:
    write(place(tmp_path), 10)
    write(place(tmp_path), 20)
    reader, read = place(tmp_path), Folder.read

    def fails(folder: Folder, name: str) -> bytes:
        if name.endswith(unreadable):
            raise OSError("network is down\nsecond line")
        return read(folder, name)

    with monkeypatch.context() as failing:
        failing.setattr(Folder, "read", fails)
        with pytest.raises(DataError, match=r"trial: cannot be read \(network is down\);"):
            reader.newest()

    assert reader.passed_over == []
    assert_is(reader.newest(), 20)


def test_folders_that_cannot_be_listed_are_told_in_one_line(tmp_path, monkeypatch) -> None:
    def fails(folder: Folder) -> list[str]:
        raise OSError("network is down")

    monkeypatch.setattr(Folder, "folders", fails)

    with pytest.raises(DataError, match=r"cannot be read \(network is down\)"):
        place(tmp_path).newest()


def test_a_damaged_snapshot_is_written_again_whole(tmp_path) -> None:
    write(place(tmp_path), 20)
    (tmp_path / PLACE / name_of(20) / "shard-1.npz").unlink()

    write(place(tmp_path), 20)

    assert_is(place(tmp_path).newest(), 20)


def test_a_snapshot_of_another_format_is_refused(tmp_path) -> None:
    write(place(tmp_path), 20)
    path = tmp_path / PLACE / name_of(20) / "manifest.json"
    path.write_text(json.dumps({"format": FORMAT + 1, "of": "another kind"}))

    with pytest.raises(DataError, match=f"format {FORMAT + 1}, expected {FORMAT}; delete it, name"):
        place(tmp_path).newest()


def test_a_snapshot_of_another_version_is_refused_and_what_differs_is_named(tmp_path) -> None:
    write(place(tmp_path, MADE_BY | {"torch": "2.12.0"}), 20)

    with pytest.raises(DataError) as refused:
        place(tmp_path).newest()

    (line,) = str(refused.value).splitlines()
    assert "made by torch 2.12.0, expected torch 2.13.0" in line
    assert "delete it, name another place in engine.snapshots" in line
    assert "c0de" not in line


def trial(**fields: object) -> Trial:
    return Trial(
        recipe=small_recipe(**fields),
        seeds=replica_seeds(7, (Source.SHUFFLE,), 0),
        data_fingerprint="data",
    )


def test_a_place_is_named_by_configuration_seeds_and_data() -> None:
    others = [
        trial(stream={"batch_size": 33}),
        replace(trial(), seeds=replica_seeds(7, (Source.SHUFFLE,), 1)),
        replace(trial(), data_fingerprint="other"),
    ]

    assert place_name(trial()) == place_name(trial())
    assert len({place_name(trial()), *(place_name(other) for other in others)}) == 4


def claim_and_leave(root: object, run: str) -> None:
    with claimed(str(root), trial(), run) as place:
        assert place is not None


def test_two_runs_in_one_place_are_noticed_at_the_start(tmp_path) -> None:
    one_place = r"found run first .* expected one run per folder"

    with claimed(str(tmp_path), trial(), "first"), pytest.raises(DataError, match=one_place):
        claim_and_leave(tmp_path, "second")

    claim_and_leave(tmp_path, "second")


def test_a_place_that_cannot_be_let_go_spoils_no_training(tmp_path, monkeypatch, caplog) -> None:
    def fails(folder: Folder, name: str) -> None:
        raise OSError("network is down")

    with claimed(str(tmp_path), trial(), "run"):
        monkeypatch.setattr(Folder, "delete", fails)

    assert "not let go: network is down" in caplog.text


def test_a_place_that_cannot_be_written_is_refused_at_the_start(tmp_path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigError, match=r"engine.snapshots: .*expected a place to write to"):
        claim_and_leave(tmp_path / "file", "run")


def test_a_run_whose_place_was_taken_over_writes_no_more(tmp_path) -> None:
    mine, other = place(tmp_path), SnapshotStore(str(tmp_path), PLACE, "other", MADE_BY)
    write(mine, 10)
    other.ownership.claim()

    with pytest.raises(DataError, match="took it over from run mine"):
        mine.begin(0, 20)
    with pytest.raises(DataError, match="took it over from run mine"):
        mine.finish(0, 20, leases=9, shards=["", ""], progress={})

    other.ownership.release()
