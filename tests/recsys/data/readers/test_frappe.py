from __future__ import annotations

import csv
import gzip

import pytest

from recsys.data.preparation import prepare
from recsys.data.readers.delimited import Paths, find_sources
from recsys.data.readers.frappe import CATEGORICAL, PATTERNS, open_frappe
from recsys.data.readers.request import Request
from recsys.errors import DataError
from tests.support.shared import shared
from tests.support.tables import write_lines

HEADER = "label,user,item,daytime,weekday,isweekend,homework,cost,weather,country,city"


def opened(directory):
    return open_frappe(Request(sources=find_sources(Paths(train=[directory]), PATTERNS)))


@pytest.fixture(scope="module")
def genuine(tmp_path_factory):
    return prepare(opened(shared("data/frappe")), tmp_path_factory.mktemp("frappe") / "log")


def test_the_files_are_the_splits(genuine):
    assert genuine.splits == {
        "train": range(202_812),
        "valid": range(202_812, 260_534),
        "test": range(260_534, 289_394),
    }
    rates = [genuine.label[part.start : part.stop].mean() for part in genuine.splits.values()]
    assert rates == pytest.approx([1 / 3, 0.3303, 0.3304], abs=5e-5)


def test_vocabularies_come_from_train_alone(genuine):
    with gzip.open(shared("data/frappe") / "frappe_ctr_train_rebuilt.csv.gz", "rt") as file:
        train = list(csv.DictReader(file))

    cardinalities = {f.name: f.cardinality for f in genuine.schema.sparse}
    assert cardinalities == {name: 1 + len({row[name] for row in train}) for name in CATEGORICAL}
    assert genuine.ids[genuine.splits["train"].start : 202_812].min() > 0


def test_the_group_is_the_user(genuine):
    with gzip.open(shared("data/frappe") / "frappe_ctr_test_official.csv.gz", "rt") as file:
        users = [int(row["user"]) for row in csv.DictReader(file)]

    assert genuine.schema.group == "user"
    assert genuine.group[genuine.splits["test"].start :].tolist() == users


def test_a_missing_column_is_refused_with_the_nearest(tmp_path):
    header = HEADER.replace("weekday", "week_day")
    for split in ("train", "valid", "test"):
        write_lines(tmp_path / f"{split}.csv", [header, "1" + ",0" * 10, "0" + ",0" * 10])

    with pytest.raises(DataError, match=r"column 'weekday' is missing, did you mean 'week_day'"):
        prepare(opened(tmp_path), tmp_path / "log")


def test_a_directory_without_such_files_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"has no file named like \*train\*\.csv"):
        opened(tmp_path)
