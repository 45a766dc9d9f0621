"""Facts about a click log, against numpy and scipy on the whole split."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import skew

from recsys.data import quality
from recsys.data.click_log import ClickLog
from recsys.data.quality import dense_ranges, unknown_shares, unseen_groups, warnings_of
from recsys.data.rows import Bag, Rows
from recsys.data.schema import Schema, SparseFeature
from recsys.data.writer import ClickLogWriter
from tests.support.logs import TRUTH, small_log

SCHEMA = Schema(
    dense=("amount",),
    sparse=(
        SparseFeature(name="item", cardinality=3),
        SparseFeature(name="tags", cardinality=4, multi_valued=True),
    ),
    group="user",
)


def rows(amount, item, tags, user) -> Rows:
    return Rows(
        label=np.array([0, 1] * (len(amount) // 2), np.float32),
        dense=np.array(amount, np.float32)[:, None],
        ids=np.array(item, np.int32)[:, None],
        bags={"tags": Bag(
            values=np.concatenate([np.array(bag, np.int32) for bag in tags]),
            offsets=np.cumsum([0, *map(len, tags)]).astype(np.int64),
        )},
        group=np.array(user, np.int64),
    )  # fmt: skip


@pytest.fixture
def log(tmp_path) -> ClickLog:
    with ClickLogWriter(tmp_path / "log", SCHEMA) as writer:
        writer.append(
            "train", rows([1, 2, 3, 5000], [1, 2, 1, 2], [[1], [2], [3], []], [1, 1, 2, 2])
        )
        writer.append("test", rows([1, 1], [0, 0], [[0, 1], [0]], [2, 3]))
        return writer.finish({"split": "files"})


def test_ranges_and_skewness_are_those_of_the_split(tmp_path, monkeypatch):
    monkeypatch.setattr(quality, "_CHUNK_ROWS", 7)
    log = small_log(tmp_path, replace(TRUTH, rows=400))
    part = log.splits["train"]
    values = np.asarray(log.dense[part.start : part.stop], np.float64)

    found = dense_ranges(log, "train")

    assert list(found) == list(log.schema.dense)
    for i, each in enumerate(found.values()):
        assert (each.low, each.high) == (values[:, i].min(), values[:, i].max())
        assert each.skew == pytest.approx(skew(values[:, i]), abs=1e-9)


def test_unknown_values_are_those_of_row_0(log):
    assert unknown_shares(log, "train") == {"item": 0.0, "tags": 0.0}
    assert unknown_shares(log, "test") == {"item": 1.0, "tags": pytest.approx(2 / 3)}


def test_groups_that_training_never_saw_are_counted(log):
    assert unseen_groups(log) == 0.5


def test_a_split_without_rows_has_no_facts(log):
    assert dense_ranges(log, "valid") == {}
    assert unknown_shares(log, "valid") == {}
    assert math.isnan(unseen_groups(log, "valid"))


def test_what_makes_a_study_misleading_is_one_line_each(log):
    assert list(warnings_of(log)) == [
        "dense feature amount reaches 5e+03: unscaled values dominate the network; "
        "in a schema, use log: true",
        "feature item: 100 % of the test values are unknown or missing",
        "feature tags: 67 % of the test values are unknown or missing",
    ]


def test_mostly_unseen_groups_are_a_warning(tmp_path):
    with ClickLogWriter(tmp_path / "log", SCHEMA) as writer:
        writer.append("train", rows([1, 2], [1, 2], [[1], [2]], [1, 1]))
        writer.append("test", rows([1, 2], [1, 2], [[1], [2]], [2, 3]))
        log = writer.finish({"split": "files"})

    (warning,) = warnings_of(log)

    assert warning.startswith("100 % of the test groups (user) do not occur in training")
