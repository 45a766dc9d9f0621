from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from recsys.data.click_log import ClickLog
from recsys.errors import DataError
from tests.support.rows import SCHEMA, plain, random_rows, written_log

ARRAYS = (
    *("label.npy", "dense.npy", "ids.npy", "group.npy"),
    *("tags.values.npy", "tags.offsets.npy"),
)


@pytest.fixture
def log(tmp_path):
    return written_log(tmp_path / "log")


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def cut_a_byte(path):
    path.write_bytes(path.read_bytes()[:-1])


def test_a_log_opens_with_what_was_written(log):
    expected = random_rows(40)
    expected.label[20:22] = [0, 1]

    assert plain(log.rows) == plain(expected)
    assert log.schema == SCHEMA
    assert log.splits == {"train": range(20), "valid": range(20, 20), "test": range(20, 40)}
    assert len(log) == 40
    log.verify()


def test_arrays_are_read_only_maps(log):
    arrays = [log.label, log.dense, log.ids, log.group]
    arrays += [log.bags["tags"].values, log.bags["tags"].offsets]

    assert all(isinstance(array, np.memmap) for array in arrays)
    assert not any(array.flags.writeable for array in arrays)


def test_equal_content_has_an_equal_fingerprint_anywhere(log, tmp_path):
    assert written_log(tmp_path / "elsewhere").fingerprint == log.fingerprint


def test_other_content_has_another_fingerprint(log, tmp_path):
    assert written_log(tmp_path / "other", count=42).fingerprint != log.fingerprint


def test_a_log_can_be_moved(log, tmp_path):
    shutil.move(log.directory, tmp_path / "moved")

    assert ClickLog.open(tmp_path / "moved").fingerprint == log.fingerprint


@pytest.mark.parametrize("name", ARRAYS)
def test_a_flipped_bit_is_found_by_verify(log, name):
    flip_a_bit(log.directory / name)

    with pytest.raises(DataError, match=f"{name}: its content is not what was prepared"):
        ClickLog.open(log.directory).verify()


@pytest.mark.parametrize("name", ARRAYS)
def test_a_cut_array_is_refused(log, name):
    cut_a_byte(log.directory / name)

    with pytest.raises(DataError, match=rf"{name}: \d+ bytes long, expected \d+"):
        ClickLog.open(log.directory)


@pytest.mark.parametrize("name", ARRAYS)
def test_a_missing_array_is_refused(log, name):
    (log.directory / name).unlink()

    with pytest.raises(DataError, match=f"{name}: No such file"):
        ClickLog.open(log.directory)


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_of_another_shape_is_refused(log, name):
    np.save(log.directory / name, np.zeros(3, np.float16))

    with pytest.raises(DataError, match=f"{name}: holds float16"):
        ClickLog.open(log.directory)


@pytest.mark.parametrize("name", ARRAYS)
def test_a_file_that_is_no_array_is_refused(log, name):
    (log.directory / name).write_bytes(b"hello")

    with pytest.raises(DataError, match=f"{name}: not a NumPy array"):
        ClickLog.open(log.directory)


def test_a_directory_without_a_description_is_no_log(log):
    (log.directory / "meta.json").unlink()

    with pytest.raises(DataError, match="not a click log"):
        ClickLog.open(log.directory)


def test_a_cut_description_is_refused(log):
    meta = log.directory / "meta.json"
    meta.write_text(meta.read_text()[:-100])

    with pytest.raises(DataError, match=r"meta.json: not valid JSON"):
        ClickLog.open(log.directory)


@pytest.mark.parametrize("key", ["schema", "splits", "arrays", "fingerprint", "meta"])
def test_a_description_that_lacks_a_part_is_refused(log, key):
    edit(log, lambda meta: meta.pop(key))

    with pytest.raises(DataError, match=r"meta.json: not a whole description"):
        ClickLog.open(log.directory)


def test_an_edited_description_does_not_fit_its_fingerprint(log):
    edit(log, lambda meta: meta["splits"].update(test=[10, 40]))

    with pytest.raises(DataError, match="its fingerprint does not fit it"):
        ClickLog.open(log.directory)


def test_a_log_of_another_version_is_refused(log):
    edit(log, lambda meta: meta.update(version=99))

    with pytest.raises(DataError, match="version 99, expected 1"):
        ClickLog.open(log.directory)


def test_some_other_json_is_no_log(log):
    (log.directory / "meta.json").write_text("[1]")

    with pytest.raises(DataError, match=r"meta.json: found a list, expected a JSON object"):
        ClickLog.open(log.directory)


def edit(log, change):
    path = log.directory / "meta.json"
    meta = json.loads(path.read_text())
    change(meta)
    path.write_text(json.dumps(meta))


@pytest.mark.parametrize(
    "change",
    [
        lambda meta: meta["arrays"]["label.npy"].update(dtype="nonsense"),
        lambda meta: meta["arrays"]["label.npy"].update(dtype="O"),
        lambda meta: meta["arrays"]["label.npy"].update(shape=["one"]),
        lambda meta: meta["arrays"]["label.npy"].update(shape=1.5),
        lambda meta: meta["arrays"].update({"../../label.npy": meta["arrays"]["label.npy"]}),
        lambda meta: meta.update(splits=[]),
        lambda meta: meta["splits"].update(test="all"),
        lambda meta: meta.update(schema="none"),
        lambda meta: meta["schema"]["sparse"][0].update(cardinality="many"),
        lambda meta: meta["schema"]["sparse"][0].update(name=["c0"]),
    ],
)
def test_a_description_of_another_structure_is_refused_in_one_line(log, change):
    path = log.directory / "meta.json"
    meta = json.loads(path.read_text())
    change(meta)
    path.write_text(json.dumps(meta))

    with pytest.raises(DataError, match=r"meta.json: not a whole description") as refused:
        ClickLog.open(log.directory)

    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a":' * 100_000])
def test_a_description_nested_too_deep_is_refused_in_one_line(log, content):
    (log.directory / "meta.json").write_text(content)

    with pytest.raises(DataError, match=r"meta.json: not valid JSON \(maximum recursion depth"):
        ClickLog.open(log.directory)
