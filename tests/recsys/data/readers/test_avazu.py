from __future__ import annotations

import pytest

from recsys.data.preparation import Split, prepare
from recsys.data.readers.avazu import Avazu
from recsys.data.readers.reader import Source
from recsys.errors import DataError
from tests.support.tables import AVAZU_COLUMNS, same_classes, write_avazu, write_lines

ROWS = [
    {"id": 1, "click": 0, "hour": 14102100, "site_id": "1fbe01fe", "C14": 15706},
    {"id": 2, "click": 1, "hour": 14102123, "site_id": "fe8cc448", "C14": 15706},
    {"id": 3, "click": 0, "hour": 14102200, "site_id": "1fbe01fe", "C14": 99},
    {"id": 4, "click": 1, "hour": 14102805, "site_id": "d6137915", "C14": 99},
]


def prepared(directory, rows, split=None):
    source = write_avazu(directory / "train.csv", rows)
    return prepare(
        Avazu((Source(path=source),)), directory / "log", split=split or Split(valid=0, test=0)
    )


def column(log, name):
    return log.ids[:, [feature.name for feature in log.schema.sparse].index(name)]


def test_the_hour_becomes_hour_of_day_and_weekday(tmp_path):
    log = prepared(tmp_path, ROWS)

    assert same_classes(column(log, "hour_of_day"), ["00", "23", "00", "05"])
    assert same_classes(column(log, "weekday"), ["tue", "tue", "wed", "tue"])


def test_the_other_columns_are_as_given(tmp_path):
    log = prepared(tmp_path, ROWS)

    names = [feature.name for feature in log.schema.sparse]
    assert names == [*AVAZU_COLUMNS[3:], "hour_of_day", "weekday"]
    assert log.label.tolist() == [0, 1, 0, 1]
    assert same_classes(column(log, "site_id"), [row["site_id"] for row in ROWS])
    assert same_classes(column(log, "C14"), [row["C14"] for row in ROWS])


def test_the_last_rows_are_tested_on(tmp_path):
    log = prepared(tmp_path, ROWS, Split(valid=0, test=0.5))

    assert log.splits["test"] == range(2, 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hour": "14102x"}, r"row 3: hour is '14102x', expected YYMMDDHH"),
        ({"hour": ""}, r"row 3: hour is missing"),
        ({"hour": "14139900"}, r"row 3: hour is '14139900'"),
        ({"click": "x"}, r"row 3: click is 'x', expected a number"),
        ({"click": 7}, r"row 3: click is 7, expected 0 or 1"),
    ],
)
def test_a_bad_row_is_refused(tmp_path, change, message):
    with pytest.raises(DataError, match=rf"train\.csv, {message}"):
        prepared(tmp_path, [ROWS[0], ROWS[1] | change])


def test_the_test_file_of_the_competition_has_no_clicks(tmp_path):
    header = [name for name in AVAZU_COLUMNS if name != "click"]
    source = write_lines(tmp_path / "test", [",".join(header), ",".join("1" * len(header))])

    with pytest.raises(DataError, match="column 'click' is missing"):
        prepare(Avazu((Source(path=source),)), tmp_path / "log")
