from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.click_log import ClickLog
from recsys.data.rows import Bag
from recsys.data.schema import Schema
from recsys.data.writer import ClickLogWriter, check_free
from recsys.errors import DataError
from tests.support.rows import SCHEMA, bag_of, bags, lists_of, plain, random_rows, written_log


def part(rows, start, stop):
    return rows.take(np.arange(start, stop))


def names_in(directory):
    return [path.name for path in directory.iterdir()]


def with_both_labels(rows):
    rows.label[:2] = [0, 1]
    return rows


def test_rows_that_arrive_in_order_are_stored_as_they_came(tmp_path):
    rows = random_rows(30)

    with ClickLogWriter(tmp_path / "log", SCHEMA) as writer:
        writer.append("train", part(rows, 0, 11))
        writer.append("train", part(rows, 11, 30))
        log = writer.finish({"reader": "test"})

    assert plain(log.rows) == plain(rows)
    assert log.splits["train"] == range(30)
    assert log.meta == {"reader": "test"}


def test_splits_that_arrive_mixed_are_stored_one_after_another(tmp_path):
    rows = [with_both_labels(random_rows(10, seed)) for seed in range(5)]

    with ClickLogWriter(tmp_path / "log", SCHEMA) as writer:
        for split, chunk in zip(["test", "train", "valid", "train", "test"], rows, strict=True):
            writer.append(split, chunk)
        log = writer.finish()

    expected = [row for number in (1, 3, 2, 0, 4) for row in plain(rows[number])]
    assert plain(log.rows) == expected
    assert log.splits == {"train": range(20), "valid": range(20, 30), "test": range(30, 50)}
    log.verify()


def test_rows_of_a_split_are_stored_by_time_and_equal_times_as_they_came(tmp_path):
    rows = random_rows(6)
    times = np.array([3.0, 1.0, 3.0, 2.0, 1.0, 0.5])

    with ClickLogWriter(tmp_path / "log", SCHEMA) as writer:
        writer.append("train", part(rows, 0, 4), times[:4])
        writer.append("train", part(rows, 4, 6), times[4:])
        log = writer.finish()

    assert plain(log.rows) == [plain(rows)[row] for row in (5, 1, 4, 3, 0, 2)]


@pytest.mark.parametrize("size", [1, 7, 100])
def test_the_fingerprint_does_not_depend_on_the_chunks(tmp_path, size):
    rows = random_rows(100)
    times = np.random.default_rng(1).integers(0, 30, 100).astype(float)

    with ClickLogWriter(tmp_path / "log", SCHEMA) as writer:
        for start in range(0, 100, size):
            stop = min(start + size, 100)
            writer.append("train", part(rows, start, stop), times[start:stop])
        log = writer.finish()

    order = np.argsort(times, kind="stable")
    assert plain(log.rows) == plain(rows.take(order))
    assert log.fingerprint == sorted_log(tmp_path, rows.take(order)).fingerprint


def sorted_log(directory, rows):
    with ClickLogWriter(directory / "sorted", SCHEMA) as writer:
        writer.append("train", rows)
        return writer.finish()


@settings(max_examples=30)
@given(lists=bags().filter(lambda lists: len(lists) >= 2), data=st.data())
def test_bags_come_back_as_they_were_put_in(tmp_path_factory, lists, data):
    count = len(lists)
    cut = data.draw(st.integers(0, count))
    lists = [[value % 9 for value in values] for values in lists]
    rows = replace(random_rows(count), bags={"tags": bag_of(lists)})

    with ClickLogWriter(tmp_path_factory.mktemp("bags") / "log", SCHEMA) as writer:
        writer.append("train", part(rows, 0, cut))
        writer.append("train", part(rows, cut, count))
        log = writer.finish()

    assert lists_of(log.bags["tags"]) == lists


def test_a_schema_with_dense_features_alone_has_no_ids(tmp_path):
    rows = replace(random_rows(4), ids=np.empty((4, 0), np.int32), bags={})

    with ClickLogWriter(tmp_path / "log", Schema(dense=("price",))) as writer:
        writer.append("train", rows)
        log = writer.finish()

    assert log.ids.shape == (4, 0)
    assert plain(log.rows) == plain(rows)


def test_bags_may_all_be_empty(tmp_path):
    empty = Bag(values=np.empty(0, np.int32), offsets=np.zeros(5, np.int64))

    with ClickLogWriter(tmp_path / "log", SCHEMA) as writer:
        writer.append("train", replace(random_rows(4), bags={"tags": empty}))
        log = writer.finish()

    assert lists_of(log.bags["tags"]) == [[], [], [], []]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.label.__setitem__(3, 2), r"row 14: label 2\.0, expected 0 or 1"),
        (lambda rows: rows.label.__setitem__(3, np.nan), r"row 14: label nan, expected 0 or 1"),
        (lambda rows: rows.dense.__setitem__((3, 0), np.nan), r"row 14: price is nan"),
        (lambda rows: rows.dense.__setitem__((3, 0), np.inf), r"row 14: price is inf"),
        (lambda rows: rows.ids.__setitem__((3, 1), 20), r"row 14: id 20 of user, expected 0 to 19"),
        (lambda rows: rows.ids.__setitem__((3, 0), -1), r"row 14: id -1 of item, expected 0 to 49"),
    ],
)
def test_a_value_that_no_row_may_have_is_refused_with_its_row(tmp_path, change, message):
    rows = random_rows(5)
    change(rows)

    with ClickLogWriter(tmp_path / "log", SCHEMA) as writer:
        writer.append("train", random_rows(10))
        with pytest.raises(DataError, match=message):
            writer.append("train", rows)


def test_an_id_beyond_its_table_is_found_in_a_bag(tmp_path):
    rows = replace(random_rows(3), bags={"tags": bag_of([[1, 2], [], [3, 9]])})

    with (
        ClickLogWriter(tmp_path / "log", SCHEMA) as writer,
        pytest.raises(DataError, match="row 3: id 9 of tags, expected 0 to 8"),
    ):
        writer.append("train", rows)


@pytest.mark.parametrize(("label", "lacking"), [(0, r"positive \(label 1\)"), (1, "negative")])
def test_a_split_with_one_label_alone_is_refused(tmp_path, label, lacking):
    one_sided = random_rows(5)
    one_sided.label[:] = label

    with ClickLogWriter(tmp_path / "log", SCHEMA) as writer:
        writer.append("train", random_rows(5))
        writer.append("test", one_sided)
        with pytest.raises(DataError, match=f"split test of 5 rows has no {lacking}"):
            writer.finish()

    assert names_in(tmp_path) == []


@pytest.mark.parametrize("split", ["train", "valid"])
def test_an_expected_split_without_rows_is_refused(tmp_path, split):
    with ClickLogWriter(tmp_path / "log", SCHEMA) as writer:
        writer.append("test", random_rows(5))
        with pytest.raises(DataError, match=f"split {split} has no row"):
            writer.finish(expected=(split,))


def test_leaving_without_finishing_leaves_nothing(tmp_path):
    with ClickLogWriter(tmp_path / "log", SCHEMA) as writer:
        writer.append("train", random_rows(5))

    assert names_in(tmp_path) == []


def test_an_exception_leaves_nothing(tmp_path):
    def interrupted():
        with ClickLogWriter(tmp_path / "log", SCHEMA) as writer:
            writer.append("train", random_rows(5))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert names_in(tmp_path) == []


def test_nothing_is_at_the_output_before_the_end(tmp_path):
    with ClickLogWriter(tmp_path / "log", SCHEMA) as writer:
        writer.append("train", random_rows(5))
        before = (tmp_path / "log").exists()
        writer.finish()

    assert not before
    assert names_in(tmp_path) == ["log"]


def test_a_log_that_is_there_is_not_overwritten(tmp_path):
    log = written_log(tmp_path / "log")

    with pytest.raises(DataError, match="--replace"), ClickLogWriter(log.directory, SCHEMA):
        pass

    assert ClickLog.open(log.directory).fingerprint == log.fingerprint
    assert names_in(tmp_path) == ["log"]


def test_a_log_is_replaced_when_that_is_asked(tmp_path):
    written_log(tmp_path / "log")

    with ClickLogWriter(tmp_path / "log", SCHEMA, replace=True) as writer:
        writer.append("train", random_rows(4))
        writer.finish()

    assert len(ClickLog.open(tmp_path / "log")) == 4
    assert names_in(tmp_path) == ["log"]


def test_a_replacement_that_fails_leaves_the_old_log(tmp_path):
    log = written_log(tmp_path / "log")

    with ClickLogWriter(log.directory, SCHEMA, replace=True) as writer:
        writer.append("train", random_rows(4))

    ClickLog.open(log.directory).verify()


@pytest.mark.parametrize("kind", [KeyboardInterrupt, OSError])
@pytest.mark.parametrize(
    ("moved", "happens", "left"),
    [
        ("output", False, "old"),
        ("output", True, "old"),
        ("log", False, "old"),
        ("log", True, "new"),
    ],
)
def test_a_replacement_interrupted_at_a_rename_leaves_one_log_whole(
    tmp_path, monkeypatch, kind, moved, happens, left
):
    old = written_log(tmp_path / "output")
    rename = Path.rename

    def interrupted(path, to):
        """Stop where the old log moves away (`output`) or where the new one (`log`) moves in."""
        if path.name != moved or happens:
            rename(path, to)
        if path.name == moved:
            raise kind("stopped")

    def replace_it():
        with ClickLogWriter(old.directory, SCHEMA, replace=True) as writer:
            writer.append("train", random_rows(4))
            monkeypatch.setattr(Path, "rename", interrupted)
            writer.finish()

    with pytest.raises(kind, match="stopped"):
        replace_it()

    found = ClickLog.open(old.directory)
    found.verify()
    assert (found.fingerprint == old.fingerprint) == (left == "old")
    assert names_in(tmp_path) == ["output"]


def test_what_is_no_click_log_is_never_replaced(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.jpg").write_bytes(b"precious")

    with (
        pytest.raises(DataError, match="is not a click log; it is unchanged"),
        ClickLogWriter(tmp_path / "photos", SCHEMA, replace=True),
    ):
        pass

    assert (tmp_path / "photos" / "1.jpg").read_bytes() == b"precious"


def test_an_empty_directory_is_free(tmp_path):
    (tmp_path / "log").mkdir()

    with ClickLogWriter(tmp_path / "log", SCHEMA) as writer:
        writer.append("train", random_rows(4))
        log = writer.finish()

    assert len(log) == 4


def test_two_preparations_of_one_output_do_not_mix(tmp_path):
    with ClickLogWriter(tmp_path / "log", SCHEMA) as first:
        first.append("train", random_rows(4))
        with (
            pytest.raises(DataError, match="another process is writing it"),
            ClickLogWriter(tmp_path / "log", SCHEMA),
        ):
            pass
        log = first.finish()

    log.verify()


def test_the_leftover_of_a_dead_preparation_is_removed(tmp_path):
    leftover = tmp_path / ".log.partial" / "staged"
    leftover.mkdir(parents=True)
    (leftover / "label.npy").write_bytes(b"half a header")

    log = written_log(tmp_path / "log")

    log.verify()
    assert names_in(tmp_path) == ["log"]


def test_a_log_that_was_put_aside_comes_back_when_its_replacement_died(tmp_path):
    log = written_log(tmp_path / "log")
    aside = tmp_path / ".log.partial" / "replaced"
    aside.parent.mkdir()
    log.directory.rename(aside)

    with pytest.raises(DataError, match="--replace"), ClickLogWriter(log.directory, SCHEMA):
        pass

    assert ClickLog.open(log.directory).fingerprint == log.fingerprint


@pytest.mark.parametrize("target", ["precious", "precious/sub/file", "nowhere"])
def test_a_link_of_the_name_of_the_hidden_directory_is_not_followed(tmp_path, target):
    (tmp_path / "precious" / "sub").mkdir(parents=True)
    (tmp_path / "precious" / "sub" / "file").write_text("mine")
    (tmp_path / ".log.partial").symlink_to(tmp_path / target)

    with pytest.raises(
        DataError, match=r"\.log\.partial: found a link or a file, expected no such"
    ):
        check_free(tmp_path / "log", replace=True)
    with (
        pytest.raises(DataError, match=r"\.log\.partial: .*, expected a directory to write to"),
        ClickLogWriter(tmp_path / "log", SCHEMA),
    ):
        pass

    assert (tmp_path / "precious" / "sub" / "file").read_text() == "mine"
    assert sorted(names_in(tmp_path)) == [".log.partial", "precious"]


def test_a_link_in_the_leftover_of_a_dead_preparation_is_removed_and_not_followed(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("mine")
    (tmp_path / ".log.partial").mkdir()
    (tmp_path / ".log.partial" / "staged").symlink_to(tmp_path / "precious")
    (tmp_path / ".log.partial" / "file").touch()

    written_log(tmp_path / "log").verify()

    assert (tmp_path / "precious" / "file").read_text() == "mine"
    assert sorted(names_in(tmp_path)) == ["log", "precious"]


@pytest.mark.parametrize("found", ["nothing", "an empty directory", "a click log"])
def test_an_output_that_is_a_link_is_written_behind_it(tmp_path, found):
    large = tmp_path / "large" / "criteo"
    large.parent.mkdir()
    if found == "an empty directory":
        large.mkdir()
    elif found == "a click log":
        written_log(large)
    (tmp_path / "link").symlink_to(large)

    with ClickLogWriter(tmp_path / "link", SCHEMA, replace=True) as writer:
        writer.append("train", random_rows(4))
        hidden = names_in(tmp_path / "large")
        writer.finish()

    assert ".criteo.partial" in hidden
    assert len(ClickLog.open(large)) == 4
    assert (tmp_path / "link").is_symlink()
    assert names_in(tmp_path / "large") == ["criteo"]


def test_times_for_some_chunks_alone_are_refused(tmp_path):
    with ClickLogWriter(tmp_path / "log", SCHEMA) as writer:
        writer.append("train", random_rows(4))
        with pytest.raises(ValueError, match="all chunks or for none"):
            writer.append("train", random_rows(4), np.zeros(4))
