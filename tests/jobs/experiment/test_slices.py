"""What a sweep notes of the click log for slices, against counting by hand."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs.experiment.planning import write_slices
from recsys.errors import ConfigError
from tests.support.logs import small_log


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return small_log(tmp_path_factory.mktemp("log"))


def test_an_examples_group_and_item_are_counted_among_the_training_examples(log, tmp_path):
    train, test = log.splits["train"], log.splits["test"]
    groups = Counter(log.group[train.start : train.stop].tolist())
    items = Counter(log.ids[train.start : train.stop, 1].tolist())

    path = write_slices(tmp_path, log, "test", log.schema.single_valued[1].name)

    found = pq.read_table(path)
    assert found["example"].to_pylist() == list(test)
    assert found["group_examples"].to_pylist() == [groups[log.group[row]] for row in test]
    assert found["item_examples"].to_pylist() == [items[log.ids[row, 1]] for row in test]
    assert found.schema.metadata == {
        b"group_examples": log.schema.group.encode(),
        b"item_examples": log.schema.single_valued[1].name.encode(),
    }


def test_without_an_item_the_groups_are_counted_alone(log, tmp_path):
    path = write_slices(tmp_path, log, "test", None)

    assert pq.read_table(path).column_names == ["example", "group_examples"]


def test_they_can_be_written_to_a_relative_directory_with_a_colon(log, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    path = write_slices(Path("run:1"), log, "test", None)

    assert pq.read_table(path.absolute()).num_rows == len(log.splits["test"])


def test_an_item_that_is_no_feature_is_refused_with_the_features_there_are(log, tmp_path):
    with pytest.raises(ConfigError, match=r"data\.item: .* no single-valued feature 'film'"):
        write_slices(tmp_path, log, "test", "film")

    assert list(tmp_path.iterdir()) == []
