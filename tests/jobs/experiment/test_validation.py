"""Files that are read as a model: each fault is one line."""

from __future__ import annotations

import pytest

from jobs.costs import read_prices
from jobs.experiment.documents import Faults, read_validated
from recsys.data.readers.table_schema import TableSchema
from recsys.errors import ConfigError


def test_all_faults_of_a_schema_are_reported_at_once(tmp_path):
    path = tmp_path / "schema.yaml"
    path.write_text(
        "dense: [age, {name: price, missing: .nan}]\n"
        "categorical: [{name: city, encoding: onehot}]\n"
        "tiem: {name: at}\n"
    )

    with pytest.raises(ConfigError) as refused:
        read_validated(path, TableSchema)

    first, *lines = str(refused.value).split("\n")
    assert first == f"{path}: 4 faults:"
    assert lines[0] == "  label: missing"
    assert lines[1].startswith("  dense.1.missing: found nan, expected a finite number")
    assert lines[2].startswith("  categorical.0.encoding: encoding 'onehot': expected hash:ROWS")
    assert lines[3] == "  tiem: unknown, did you mean 'time'?"


def test_all_faults_of_prices_are_reported_at_once(tmp_path):
    path = tmp_path / "prices.yaml"
    path.write_text("per_core_hour: .nan\nper_gpu_hour: -1\n")

    with pytest.raises(ConfigError) as refused:
        read_prices(path)

    assert str(refused.value).split("\n") == [
        f"{path}: 2 faults:",
        "  per_core_hour: found nan, expected a finite number",
        "  per_gpu_hour: found -1, expected a number greater than or equal to 0",
    ]


def test_what_only_the_options_of_a_union_could_be_is_one_fault(tmp_path):
    path = tmp_path / "schema.yaml"
    path.write_text("label: y\ndense: [[x]]\n")

    with pytest.raises(ConfigError) as refused:
        read_validated(path, TableSchema)

    assert str(refused.value) == f"{path}: dense.0: found ['x'], expected fields"


def test_without_faults_nothing_is_raised():
    Faults().raise_any()
