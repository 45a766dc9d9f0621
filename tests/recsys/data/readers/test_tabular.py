from __future__ import annotations

import csv
import math
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.preparation import Split, SplitBy, prepare
from recsys.data.readers.reader import Source
from recsys.data.readers.table_schema import TableSchema
from recsys.data.readers.tabular import Tabular
from recsys.errors import DataError
from tests.support.rows import lists_of, plain
from tests.support.tables import same_classes, write_lines

ALL_TRAIN = Split(by=SplitBy.FRACTION, valid=0, test=0)
SCHEMA = {
    "label": "clicked",
    "dense": ["age", {"name": "price", "missing": -1, "log": True}],
    "categorical": ["country", {"name": "item", "encoding": "codes:5"}],
    "multi_valued": [{"name": "tags", "separator": "|"}],
    "group": "user",
    "time": "at",
}
HEADER = "at,user,country,item,tags,price,age,unused,clicked"
LINES = [
    HEADER,
    "3.5,u1,de,0,a|b,7,30,x,0",
    "1.5,u2,,4,,,31,y,1",
    "2.5,u1,fr,2,b,-2,32.5,z,1",
]


def prepared(directory, *paths, schema=SCHEMA, split=ALL_TRAIN, **changes):
    sources = tuple(Source(path=path) for path in paths)
    reader = Tabular(sources, TableSchema.model_validate(schema | changes))
    return prepare(reader, directory / "log", split=split)


def csv_file(directory, lines=LINES, name="t.csv"):
    return write_lines(directory / name, lines)


def parquet_file(directory, columns, name="t.parquet"):
    pa.parquet.write_table(pa.table(columns), directory / name, row_group_size=2)
    return directory / name


def test_every_kind_of_column_is_read_as_the_schema_says(tmp_path):
    log = prepared(tmp_path, csv_file(tmp_path))

    by_time = [1, 2, 0]
    labels, ages, prices = [0, 1, 1], [30, 31, 32.5], [7, -1, -2]
    assert log.label.tolist() == [labels[row] for row in by_time]
    assert log.dense[:, 0].tolist() == [ages[row] for row in by_time]
    expected = [math.copysign(math.log1p(abs(prices[row])), prices[row]) for row in by_time]
    assert log.dense[:, 1].tolist() == pytest.approx(expected)
    assert log.ids[:, 1].tolist() == [5, 3, 1]
    assert log.ids[0, 0] == 0
    assert same_classes(log.ids[:, 0], ["", "fr", "de"])
    empty, (b,), (a, also_b) = lists_of(log.bags["tags"])
    assert empty == []
    assert b == also_b != a
    assert same_classes(log.group, ["u2", "u1", "u1"])
    assert log.schema.group == "user"


def test_the_schema_orders_the_features(tmp_path):
    log = prepared(tmp_path, csv_file(tmp_path))

    assert log.schema.dense == ("age", "price")
    assert [(f.name, f.cardinality, f.multi_valued) for f in log.schema.sparse] == [
        ("country", 3, False),
        ("item", 6, False),
        ("tags", 3, True),
    ]


def test_parquet_and_csv_of_the_same_table_have_the_same_fingerprint(tmp_path):
    columns = {
        "at": [3.5, 1.5, 2.5],
        "user": ["u1", "u2", "u1"],
        "country": pa.array(["de", None, "fr"]).dictionary_encode(),
        "item": pa.array([0, 4, 2], pa.int16()),
        "tags": [["a", "b"], None, ["b"]],
        "price": [7, None, -2],
        "age": pa.array([30, 31, 32.5], pa.float32()),
        "clicked": [False, True, True],
    }
    (tmp_path / "parquet").mkdir()
    from_parquet = prepared(tmp_path / "parquet", parquet_file(tmp_path, columns))

    from_csv = prepared(tmp_path, csv_file(tmp_path))

    assert plain(from_csv.rows) == plain(from_parquet.rows)
    assert from_csv.fingerprint == from_parquet.fingerprint


def test_a_table_may_lie_in_several_files(tmp_path):
    first = csv_file(tmp_path, LINES[:2], "1.csv")
    second = csv_file(tmp_path, [HEADER, *LINES[2:]], "2.csv")
    (tmp_path / "split").mkdir()

    log = prepared(tmp_path / "split", first, second)

    assert log.fingerprint == prepared(tmp_path, csv_file(tmp_path)).fingerprint


def test_times_may_be_text_of_a_format(tmp_path):
    days = ["2024-03-01 12:00:00", "2023-12-31 23:59:59", "2024-01-01 00:00:00"]
    lines = [
        HEADER,
        *(f"{day},{line.split(',', 1)[1]}" for day, line in zip(days, LINES[1:], strict=True)),
    ]

    log = prepared(
        tmp_path, csv_file(tmp_path, lines), time={"name": "at", "format": "%Y-%m-%d %H:%M:%S"}
    )

    assert log.dense[:, 0].tolist() == [31, 32.5, 30]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_may_be_timestamps(tmp_path, unit):
    start = datetime(2024, 1, 1)
    times = [start + timedelta(seconds=seconds) for seconds in (2, 0, 1)]
    columns = {"at": pa.array(times, pa.timestamp(unit)), "x": [1.0, 2.0, 3.0], "y": [0, 1, 1]}

    log = prepared(
        tmp_path,
        parquet_file(tmp_path, columns),
        schema={"label": "y", "dense": ["x"], "time": "at"},
    )

    assert log.dense[:, 0].tolist() == [2, 3, 1]


def test_rows_of_one_moment_stay_in_one_split(tmp_path):
    lines = ["t,x,y", *(f"{row // 10},{row},{row % 2}" for row in range(100))]

    log = prepared(
        tmp_path,
        csv_file(tmp_path, lines),
        schema={"label": "y", "dense": ["x"], "time": "t"},
        split=Split(valid=0.15, test=0.15),
    )

    assert log.splits == {"train": range(70), "valid": range(70, 80), "test": range(80, 100)}


def test_a_delimiter_can_be_chosen(tmp_path):
    lines = [line.replace(",", ";") for line in LINES]

    log = prepared(tmp_path, csv_file(tmp_path, lines), delimiter=";")

    assert len(log) == 3


cells = st.text(st.characters(codec="utf-8", exclude_characters="\n\r\x00"), max_size=6)
tables = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.floats(-(2.0**100), 2.0**100, width=32),
        cells,
        st.lists(st.text("abc", min_size=1, max_size=2), max_size=3),
        st.integers(-5, 5),
    ),
    max_size=15,
)


@settings(max_examples=40)
@given(tables)
def test_any_table_comes_back_by_time(tmp_path_factory, drawn):
    drawn = [(0, 0.0, "", [], 9), (1, 0.0, "", [], 9), *drawn]
    directory = tmp_path_factory.mktemp("tabular")
    with (directory / "t.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["y", "x", "c", "tags", "t"])
        writer.writerows([y, repr(x), c, "|".join(tags), t] for y, x, c, tags, t in drawn)

    log = prepared(
        directory,
        directory / "t.csv",
        schema={
            "label": "y",
            "dense": ["x"],
            "categorical": ["c"],
            "multi_valued": [{"name": "tags", "separator": "|"}],
            "time": "t",
        },
    )

    expected = sorted(drawn, key=lambda row: row[4])
    assert log.label.tolist() == [row[0] for row in expected]
    np.testing.assert_array_equal(log.dense[:, 0], np.float32([row[1] for row in expected]))
    assert same_classes(log.ids[:, 0], [row[2] for row in expected])
    bags = lists_of(log.bags["tags"])
    assert [len(bag) for bag in bags] == [len(row[3]) for row in expected]
    flat = [tag for row in expected for tag in row[3]]
    assert same_classes(np.array([i for bag in bags for i in bag]), flat)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1,u1,de,0,a,7,30,x", r"row 3: expected 9 columns, found 8"),
        ("1,u1,de,0,a,7,30,x,maybe", r"row 3: clicked is 'maybe', expected a number"),
        ("1,u1,de,0,a,7,30,x,0.5", r"row 3: clicked is 0\.5, expected 0 or 1"),
        ("1,u1,de,0,a,7,,x,1", r"row 3: age is missing, expected a number"),
        ("1,u1,de,0,a,7,NaN,x,1", r"row 3: age is nan, expected a finite number"),
        ("1,u1,de,0,a,7,1e39,x,1", r"row 3: age is 1e\+39, expected a finite number"),
        ("1,u1,de,0,a,7,old,x,1", r"row 3: age is 'old', expected a number"),
        ("1,u1,de,5,a,7,30,x,1", r"row 3: item is 5, expected a code from 0 to 4"),
        ("1,u1,de,one,a,7,30,x,1", r"row 3: item is 'one', expected an integer code"),
        ("now,u1,de,0,a,7,30,x,1", r"row 3: at is 'now', expected a number"),
        (",u1,de,0,a,7,30,x,1", r"row 3: at is missing, expected a number"),
        ('1,u1,"de,0,a,7,30,x,1', r"row 3: "),
    ],
)
def test_a_bad_row_is_refused_with_file_and_row(tmp_path, row, message):
    source = csv_file(tmp_path, [LINES[0], LINES[1], row, LINES[2]])

    with pytest.raises(DataError, match=rf"t\.csv, {message}"):
        prepared(tmp_path, source)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": [0, 1, 2]}, r"t\.parquet, row 3: y is 2, expected 0 or 1"),
        ({"y": [0, 1, None]}, r"t\.parquet, row 3: y is missing"),
        ({"x": [1.0, math.nan, 2.0]}, r"t\.parquet, row 2: x is nan"),
        ({"c": [{"a": 1}] * 3}, r"column c is struct<a: int64>, expected string"),
        ({"tags": ["a", "b", "c"]}, r"column tags is string, expected lists"),
        ({"tags": [1.5, 2.5, 3.5]}, r"column tags is double, expected lists"),
    ],
)
def test_a_bad_parquet_is_refused(tmp_path, change, message):
    columns = {"y": [0, 1, 1], "x": [1.0, 2.0, 3.0], "c": ["a", "b", "c"], "tags": [["a"]] * 3}
    source = parquet_file(tmp_path, columns | change)
    schema = {"label": "y", "dense": ["x"], "categorical": ["c"], "multi_valued": ["tags"]}

    with pytest.raises(DataError, match=message):
        prepared(tmp_path, source, schema=schema)


def test_a_cut_parquet_is_refused(tmp_path):
    source = parquet_file(tmp_path, {"y": [0, 1], "x": [1.0, 2.0]})
    source.write_bytes(source.read_bytes()[:-20])

    with pytest.raises(DataError, match=r"t\.parquet: not a whole Parquet file"):
        prepared(tmp_path, source, schema={"label": "y", "dense": ["x"]})


def test_a_parquet_may_have_a_relative_name_with_a_colon(tmp_path, monkeypatch):
    parquet_file(tmp_path, {"y": [0, 1], "x": [1.0, 2.0]}, name="day:1.parquet")
    monkeypatch.chdir(tmp_path)

    log = prepared(tmp_path, Path("day:1.parquet"), schema={"label": "y", "dense": ["x"]})

    assert sorted(log.dense[:, 0].tolist()) == [1.0, 2.0]


def test_a_missing_parquet_column_is_named_with_the_nearest(tmp_path):
    source = parquet_file(tmp_path, {"clicks": [0, 1], "x": [1.0, 2.0]})

    with pytest.raises(DataError, match=r"column 'click' is missing, did you mean 'clicks'"):
        prepared(tmp_path, source, schema={"label": "click", "dense": ["x"]})


def test_text_that_does_not_fit_its_time_format_is_refused_with_its_row(tmp_path):
    lines = ["t,x,y", "2024-01-01,1,0", "yesterday,2,1"]

    with pytest.raises(DataError, match=r"row 3: t is 'yesterday', expected a time like %Y"):
        prepared(
            tmp_path,
            csv_file(tmp_path, lines),
            schema={"label": "y", "dense": ["x"], "time": {"name": "t", "format": "%Y-%m-%d"}},
        )


def test_every_split_can_be_a_file(tmp_path):
    lines = ["x,y", "1,0", "2,1"]
    sources = [
        Source(path=csv_file(tmp_path, lines, f"{name}.csv"), split=name)
        for name in ("test", "train")
    ]
    reader = Tabular(tuple(sources), TableSchema.model_validate({"label": "y", "dense": ["x"]}))

    log = prepare(reader, tmp_path / "log")

    assert log.splits == {"train": range(2), "valid": range(2, 2), "test": range(2, 4)}
