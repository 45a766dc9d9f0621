from __future__ import annotations

import json

import pytest

from recsys.data.schema import Schema, SparseFeature
from recsys.errors import DataError
from tests.support.rows import SCHEMA


def test_features_keep_their_order_within_their_kind():
    assert [feature.name for feature in SCHEMA.single_valued] == ["item", "user"]
    assert [feature.name for feature in SCHEMA.multi_valued] == ["tags"]


def test_a_schema_survives_json():
    assert Schema.from_json(json.loads(json.dumps(SCHEMA.to_json()))) == SCHEMA


def test_a_schema_without_features_is_refused():
    with pytest.raises(DataError, match="no feature"):
        Schema()


def test_two_features_of_one_name_are_refused():
    with pytest.raises(DataError, match="'a' appears twice"):
        Schema(dense=("a",), sparse=(SparseFeature(name="a", cardinality=2),))


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a\nb", "\x00"])
def test_a_name_that_is_unfit_for_a_file_is_refused(name):
    with pytest.raises(DataError, match="expected a name"):
        SparseFeature(name=name, cardinality=2)


def test_an_empty_table_is_refused():
    with pytest.raises(DataError, match="'a': its table has 0 rows, expected at least 1"):
        SparseFeature(name="a", cardinality=0)
