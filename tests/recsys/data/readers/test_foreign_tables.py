"""Tables as pandas, polars, Spark, Hive, DuckDB and spreadsheets write them."""

from __future__ import annotations

import math
from datetime import date, datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest

from recsys.errors import DataError
from tests.support.preparing import LABELS, SCHEMA, prepared, write_parquet
from tests.support.rows import lists_of
from tests.support.shared import shared
from tests.support.tables import write_lines

# Categories

TEXT = ["u1", "u2", "u1", None]


@pytest.mark.parametrize(
    "column",
    [
        *(
            pa.DictionaryArray.from_arrays(pa.array([0, 1, 0, None], index), ["u1", "u2"])
            for index in (pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64(), pa.int8())
        ),
        pa.DictionaryArray.from_arrays(pa.array([0, 1, 2, None], pa.uint8()), ["u1", "u2", "u1"]),
        pa.array(TEXT, pa.large_string()),
        pa.array(TEXT, pa.string_view()),
        pa.array([text and text.encode() for text in TEXT], pa.binary()),
    ],
    ids=lambda column: str(column.type),
)
@pytest.mark.parametrize("use", ["categorical", "group"])
def test_text_in_any_arrow_type_is_the_same_text(tmp_path, column, use):
    schema = SCHEMA if use == "categorical" else {"label": "y", "dense": ["y2"], "group": "c"}
    plain = write_parquet(tmp_path / "plain.parquet", c=TEXT, y2=LABELS)
    other = write_parquet(tmp_path / "other.parquet", c=column, y2=LABELS)

    found = prepared(tmp_path, other, schema, name="found")

    assert found.fingerprint == prepared(tmp_path, plain, schema).fingerprint


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (pa.array([12.0, 1e15, math.nan, None]), ["12", "1000000000000000", "", ""]),
        (pa.array([12.0, 2.5, 12.0, None], pa.float32()), ["12", "2.5", "12.0", ""]),
        (pa.array([12, 2**64 - 1, 1, 0], pa.uint64()), ["12", str(2**64 - 1), "1", "0"]),
        (pa.array([Decimal("12.00"), Decimal("2.50"), None, None]), ["12", "2.50", "", ""]),
        (pa.array([True, False, True, None]), ["True", "False", "TRUE", ""]),
        (pa.array([date(2024, 1, 2)] * 4), ["2024-01-02"] * 4),
    ],
)
def test_a_category_of_parquet_is_the_same_as_that_of_csv(tmp_path, column, text):
    source = write_parquet(tmp_path / "t.parquet", c=column)
    lines = write_lines(
        tmp_path / "t.csv", ["y,c", *(f"{y},{c}" for y, c in zip(LABELS, text, strict=True))]
    )

    found = prepared(tmp_path, source, name="found")

    assert found.fingerprint == prepared(tmp_path, lines).fingerprint


@pytest.mark.parametrize("encoding", ["vocabulary:1", "hash:50", "codes:20"])
def test_an_id_of_12_in_one_file_is_that_of_12_0_in_another(tmp_path, encoding):
    train = write_lines(tmp_path / "train.csv", ["y,c", "0,12", "1,7"])
    test = write_lines(tmp_path / "test.csv", ["y,c", "0,12.0", "1,7.0"])

    log = prepared(
        tmp_path, train, split=None, test=test, categorical=[{"name": "c", "encoding": encoding}]
    )

    train_ids, test_ids = log.ids[:2, 0].tolist(), log.ids[2:, 0].tolist()
    assert train_ids == test_ids
    assert 0 not in train_ids


def test_a_version_is_no_whole_number(tmp_path):
    source = write_lines(tmp_path / "t.csv", ["y,c", "0,1.5.0", "1,1.5", "0,1.50", "1,x.0"])

    assert prepared(tmp_path, source).schema.sparse[0].cardinality == 5


def test_a_text_of_megabytes_is_a_category_as_any_other(tmp_path):
    long = "z" * 3_000_000
    source = write_parquet(tmp_path / "t.parquet", c=[long, "a", long, long + "y"])

    ids = prepared(tmp_path, source).ids[:, 0].tolist()

    assert ids[0] == ids[2]
    assert len(set(ids)) == 3


# Labels and numbers


@pytest.mark.parametrize("words", ["False True", "false true", "FALSE TRUE", "0 1", "0.0 1.0"])
def test_labels_may_be_booleans_in_text(tmp_path, words):
    no, yes = words.split()
    source = write_lines(tmp_path / "t.csv", ["y,c", f"{no},a", f"{yes},b", f"{no},a"])

    assert prepared(tmp_path, source).label.tolist() == [0, 1, 0]


def test_labels_may_be_words_that_the_schema_names(tmp_path):
    source = write_lines(tmp_path / "t.csv", ["y,c", "skip,a", "click,b", "buy,a"])

    log = prepared(tmp_path, source, true_values=["click", "buy"], false_values=["skip"])

    assert log.label.tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    "label", [pa.array(LABELS, pa.decimal128(3, 1)), pa.array(["0", "1", "0", "1"]), LABELS]
)
def test_labels_and_numbers_may_have_any_numeric_type(tmp_path, label):
    source = write_parquet(tmp_path / "t.parquet", y=label, x=pa.array(label))

    log = prepared(tmp_path, source, {"label": "y", "dense": ["x"]})

    assert log.label.tolist() == log.dense[:, 0].tolist() == LABELS


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_nan_is_missing_as_null_is(tmp_path, suffix):
    source = tmp_path / f"t{suffix}"
    if suffix == ".csv":
        write_lines(source, ["y,c,x", "0,a,1.5", "1,b,nan", "0,a,", "1,,NaN"])
    else:
        write_parquet(source, c=["a", "b", "a", None], x=[1.5, math.nan, None, math.nan])
    dense = {"name": "x", "missing": -2}

    assert prepared(tmp_path, source, dense=[dense]).dense[:, 0].tolist() == [1.5, -2, -2, -2]
    with pytest.raises(DataError, match=r"x is (nan|missing), expected .*; missing: 0 in the sch"):
        prepared(tmp_path, source, dense=["x"], name="refused")


def test_text_that_stands_for_null_is_missing(tmp_path):
    lines = ["y,x,c", "0,1,a", "1,NULL,\\N", "0,-,NULL", "1,,b", "0,2,-", '1,3,"NULL"']
    schema = {"label": "y", "dense": [{"name": "x", "missing": 0}], "categorical": ["c"]}

    log = prepared(
        tmp_path, write_lines(tmp_path / "t.csv", lines), schema, null_values=["NULL", "\\N", "-"]
    )

    assert log.dense[:, 0].tolist() == [1, 0, 0, 0, 2, 3]
    assert log.ids[:, 0].tolist()[1:3] == log.ids[:, 0].tolist()[4:] == [0, 0]
    assert log.schema.sparse[0].cardinality == 3


def test_integers_beyond_those_of_float64_are_numbers(tmp_path):
    source = write_parquet(
        tmp_path / "t.parquet", x=pa.array([2**63, 1, 2**64 - 1, 0], pa.uint64())
    )

    log = prepared(tmp_path, source, {"label": "y", "dense": ["x"]})

    assert log.dense[:, 0].tolist() == [2.0**63, 1, 2.0**64, 0]


# Times


def ordered_by(tmp_path, source, time):
    """Return the column x of a log ordered by time."""
    log = prepared(tmp_path, source, {"label": "y", "dense": ["x"], "time": time})
    return log.dense[:, 0].tolist()


X = [3, 2, 1, 0]


@pytest.mark.parametrize(
    "at",
    [
        pa.array([1_600_000_000_000_000_000 + x for x in X], pa.timestamp("ns")),
        pa.array([1_600_000_000_000_000_000 + x for x in X], pa.timestamp("ns", "Europe/Berlin")),
        pa.array([1_600_000_000_000_000_000 + x for x in X]),
        pa.array([str(1_600_000_000_000_000_000 + x) for x in X]),
        pa.array([1_600_000_000 + x / 1e6 for x in X]),
        pa.array([date(2024, 1, 1) + timedelta(days=x) for x in X]),
        pa.array([datetime(1960, 1, 1) + timedelta(milliseconds=x) for x in X]),
        pa.array([Decimal(x) for x in X]),
        pa.array([-(2**62) + x for x in X]),
        pa.array([2**62 + x for x in X], pa.uint64()),
    ],
    ids=lambda at: str(at.type),
)
def test_times_keep_their_order_to_the_nanosecond(tmp_path, at):
    source = write_parquet(tmp_path / "t.parquet", at=at, x=X)

    assert ordered_by(tmp_path, source, "at") == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("form", "times"),
    [
        ("%Y-%m-%d %H:%M:%S.%f", ["2024-01-01 00:00:00.3", "2024-01-01 00:00:00.25"]),
        ("%Y-%m-%d %H:%M:%S.%f", ["2024-01-01 00:00:00.000002", "2024-01-01 00:00:00.000001999"]),
        ("%Y-%m-%d %H:%M:%S.%f", ["2024-01-01 00:00:00.100", "2024-01-01 00:00:00"]),
        ("%Y-%m-%dT%H:%M:%S.%fZ", ["2024-01-01T00:00:00.900Z", "2024-01-01T00:00:00.80Z"]),
        ("%H:%M:%S.%f %d.%m.%Y", ["00:00:00.9 01.02.2024", "00:00:00.10 01.02.2024"]),
        ("%Y-%m-%d %H:%M:%S.%f%z", ["2024-01-01 01:00:00.5+0000", "2024-01-01 02:00:00.4+0100"]),
    ],
)
def test_times_may_have_fractions_of_a_second(tmp_path, form, times):
    lines = ["y,x,at", f"0,2,{times[0]}", f"1,1,{times[1]}"]

    found = ordered_by(
        tmp_path, write_lines(tmp_path / "t.csv", lines), {"name": "at", "format": form}
    )

    assert found == [1, 2]


def test_rows_are_split_by_fractions_of_a_second(tmp_path):
    lines = [f"{row % 2},{row},2024-01-01 00:00:00.{row:03}" for row in range(200)]

    log = prepared(
        tmp_path,
        write_lines(tmp_path / "t.csv", ["y,x,at", *lines]),
        {"label": "y", "dense": ["x"], "time": {"name": "at", "format": "%Y-%m-%d %H:%M:%S.%f"}},
        split=None,
    )

    assert [len(part) for part in log.splits.values()] == [160, 20, 20]
    assert log.dense[:, 0].tolist() == list(range(200))


def test_times_of_two_kinds_do_not_go_together(tmp_path):
    (tmp_path / "d").mkdir()
    write_parquet(tmp_path / "d" / "1.parquet", c=TEXT, at=[1, 2, 3, 4])
    dated = write_parquet(tmp_path / "d" / "2.parquet", c=TEXT, at=[datetime(2024, 1, 1)] * 4)

    with pytest.raises(DataError, match=r"2\.parquet: column at holds dates, but numbers in .*1\."):
        prepared(tmp_path, tmp_path / "d", time="at")
    assert len(prepared(tmp_path, dated, time={"name": "at", "format": "%Y"})) == 4


def test_dates_in_text_need_a_format(tmp_path):
    source = write_lines(tmp_path / "t.csv", ["y,c,at", "0,a,2024-01-01"])

    with pytest.raises(DataError, match=r"row 2: at is '2024-01-01', expected a number .dates in"):
        prepared(tmp_path, source, time="at")


# Lists


@pytest.mark.parametrize(
    ("separator", "texts"),
    [
        ("|", ["a|b", "b", "", ""]),
        ("|", ["a||b|", "|b|", "|", ""]),
        (",", ["[a, b]", "[b]", "[]", "[ ]"]),
        (",", ["['a', 'b']", "['b']", "['']", ""]),
        (",", ['["a","b"]', '["b"]', "[]", " [,] "]),
        (" ", ["[a b]", " [b ]", "[]", ""]),
    ],
)
def test_lists_in_text_may_have_brackets_and_empty_parts(tmp_path, separator, texts):
    bags = {"label": "y", "multi_valued": [{"name": "c", "separator": separator}]}
    lists = write_parquet(tmp_path / "lists.parquet", c=[["a", "b"], ["b"], [], None])

    found = prepared(tmp_path, write_parquet(tmp_path / "t.parquet", c=texts), bags, name="found")

    assert [len(bag) for bag in lists_of(found.bags["c"])] == [2, 1, 0, 0]
    assert found.fingerprint == prepared(tmp_path, lists, bags).fingerprint


CODED = pa.DictionaryArray.from_arrays(pa.array([0, 1, 1], pa.uint32()), ["a", "b"])


@pytest.mark.parametrize(
    "lists",
    [
        pa.ListArray.from_arrays([0, 2, 3, 3, 3], CODED),
        pa.LargeListArray.from_arrays([0, 2, 3, 3, 3], CODED),
        pa.array([["a", "b"], ["b"], [], None], pa.list_view(pa.string())),
        pa.array([["a", "b"], ["b"], [], None], pa.large_list(pa.large_string())),
    ],
    ids=lambda lists: str(lists.type),
)
def test_lists_may_have_any_arrow_type(tmp_path, lists):
    bags = {"label": "y", "multi_valued": ["c"]}
    plain = write_parquet(tmp_path / "plain.parquet", c=[["a", "b"], ["b"], [], None])

    found = prepared(tmp_path, write_parquet(tmp_path / "t.parquet", c=lists), bags, name="found")

    assert found.fingerprint == prepared(tmp_path, plain, bags).fingerprint


def test_whole_numbers_in_lists_are_without_a_point(tmp_path):
    bags = {"label": "y", "multi_valued": ["c"]}
    whole = write_parquet(tmp_path / "1.parquet", c=[[12], [7, 12], [], []])
    floats = write_parquet(tmp_path / "2.parquet", c=[[12.0], [7.0, 12.0], [], []])

    found = prepared(tmp_path, floats, bags, name="found")

    assert found.fingerprint == prepared(tmp_path, whole, bags).fingerprint


def test_a_part_may_have_nothing_but_empty_lists(tmp_path):
    write_parquet(tmp_path / "1.parquet", c=[[], [], [], []])
    write_parquet(tmp_path / "2.parquet", c=pa.nulls(4))
    write_parquet(tmp_path / "3.parquet", c=[["a"], [], ["a", "b"], None])

    log = prepared(tmp_path, tmp_path, {"label": "y", "multi_valued": ["c"]})

    assert [len(bag) for bag in lists_of(log.bags["c"])] == [0] * 8 + [1, 0, 2, 0]


@pytest.mark.parametrize(
    ("file", "schema", "fingerprint"),
    [
        ("u8.parquet", {"categorical": ["user"]}, "835ac861af03d1f7"),
        ("u32.parquet", {"categorical": ["user"]}, "835ac861af03d1f7"),
        ("group.parquet", {"categorical": ["item"], "group": "user"}, "bdbfc1cedb1d038d"),
    ],
)
def test_unsigned_dictionaries_have_the_fingerprints_of_plain_text(
    tmp_path, file, schema, fingerprint
):
    source = shared("cases/unsigned_dictionary") / file

    log = prepared(tmp_path, source, {"label": "click"} | schema, split=None)

    assert log.fingerprint.startswith(fingerprint)
    assert len(log) == 400
