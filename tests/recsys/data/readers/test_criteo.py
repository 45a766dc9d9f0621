from __future__ import annotations

import csv
import gzip
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.preparation import Encodings, Split, prepare
from recsys.data.readers.criteo import PATTERNS, Criteo
from recsys.data.readers.delimited import Paths, find_sources
from recsys.data.readers.reader import Source
from recsys.errors import DataError
from tests.support.shared import shared
from tests.support.tables import criteo_line, same_classes, write_lines

ALL_TRAIN = Split(valid=0, test=0)
LINES = [criteo_line(0, [1, 2], ["a"]), criteo_line(1, [0, -3], ["b", "68fd1e64"])]


def reader(*paths):
    return Criteo(tuple(Source(path=path) for path in paths))


def signed_log(text):
    number = float(text or 0)
    return math.copysign(math.log1p(abs(number)), number)


def test_numericals_are_log_transformed_and_missing_ones_are_0(tmp_path):
    lines = [criteo_line(0, [0, 1, "", -3, 65535]), criteo_line(1)]

    log = prepare(reader(write_lines(tmp_path / "t.tsv", lines)), tmp_path / "log", split=ALL_TRAIN)

    expected = [0, math.log(2), 0, -math.log(4), math.log(65536)]
    assert log.dense[0].tolist() == pytest.approx([*expected, *[0] * 8], rel=1e-6)
    assert log.dense[1].tolist() == [0] * 13
    assert log.schema.dense == tuple(f"I{number}" for number in range(1, 14))


def test_missing_categoricals_are_row_0_and_equal_ones_equal(tmp_path):
    lines = [*LINES, criteo_line(1, [], ["a", "68fd1e64"])]

    log = prepare(reader(write_lines(tmp_path / "t.tsv", lines)), tmp_path / "log", split=ALL_TRAIN)

    assert log.ids[:, 1].tolist()[0] == 0
    assert log.ids[1, 1] == log.ids[2, 1] > 0
    assert log.ids[0, 0] == log.ids[2, 0] != log.ids[1, 0]
    assert np.all(log.ids[:, 2:] == 0)


def test_files_are_read_one_after_another_packed_or_not(tmp_path):
    plain = write_lines(tmp_path / "day_0", LINES)
    packed = tmp_path / "day_1.gz"
    packed.write_bytes(gzip.compress(f"{LINES[1]}\n".encode()) + gzip.compress(LINES[0].encode()))

    log = prepare(reader(plain, packed), tmp_path / "log", split=ALL_TRAIN)

    assert log.label.tolist() == [0, 1, 1, 0]
    assert reader(plain, packed).row_count() == 4


def test_the_last_lines_are_tested_on(tmp_path):
    lines = [criteo_line(row % 2, [row]) for row in range(100)]

    log = prepare(
        reader(write_lines(tmp_path / "t.tsv", lines)),
        tmp_path / "log",
        split=Split(valid=0.1, test=0.2),
    )

    assert log.splits == {"train": range(70), "valid": range(70, 80), "test": range(80, 100)}
    assert np.expm1(log.dense[:, 0]).round().tolist() == list(range(100))


def test_a_row_has_no_group_but_its_own(tmp_path):
    log = prepare(reader(write_lines(tmp_path / "t.tsv", LINES)), tmp_path / "log", split=ALL_TRAIN)

    assert log.schema.group is None
    assert len(set(log.group.tolist())) == 2


fields = st.text("0123456789abcdef\"', ", max_size=8).map(str.strip)
counts = st.one_of(st.just(""), st.integers(-3, 10**6))
rows = st.tuples(
    st.integers(0, 1),
    st.lists(counts, min_size=13, max_size=13),
    st.lists(fields, min_size=26, max_size=26),
)


@settings(max_examples=25)
@given(st.lists(rows, max_size=12))
def test_any_rows_come_back(tmp_path_factory, drawn):
    drawn = [*drawn, (0, [""] * 13, [""] * 26), (1, [""] * 13, [""] * 26)]
    directory = tmp_path_factory.mktemp("criteo")
    source = write_lines(directory / "t.tsv", (criteo_line(*row) for row in drawn))

    log = prepare(
        reader(source),
        directory / "log",
        split=ALL_TRAIN,
        encodings=Encodings(default="vocabulary"),
    )

    assert log.label.tolist() == [label for label, _, _ in drawn]
    np.testing.assert_allclose(
        log.dense, [[signed_log(count) for count in found] for _, found, _ in drawn], rtol=1e-6
    )
    for column in range(26):
        values = [found[column] for _, _, found in drawn]
        assert same_classes(log.ids[:, column], values)
        assert all(
            (row == 0) == (value == "")
            for row, value in zip(log.ids[:, column], values, strict=True)
        )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1\t2\t3", r"row 3: expected 40 columns, found 3"),
        (criteo_line(1) + "\t", r"row 3: expected 40 columns, found 41"),
        (criteo_line("yes"), r"row 3: label is 'yes', expected a number"),
        (criteo_line(""), r"row 3: label is missing"),
        (criteo_line(2), r"row 3: label is 2, expected 0 or 1"),
        (criteo_line(-1), r"row 3: label is -1, expected 0 or 1"),
        (criteo_line("nan"), r"row 3: label is nan, expected a finite number"),
        (criteo_line(1, ["", "x"]), r"row 3: I2 is 'x', expected a number"),
        (criteo_line(1, ["inf"]), r"row 3: I1 is inf, expected a finite number"),
        ("", r"row 3: label is missing"),
    ],
)
def test_a_bad_line_is_refused_with_file_and_row(tmp_path, line, message):
    source = write_lines(tmp_path / "t.tsv", [*LINES, line, *LINES])

    with pytest.raises(DataError, match=rf"t\.tsv, {message}"):
        prepare(reader(source), tmp_path / "log")

    assert [path.name for path in tmp_path.iterdir()] == ["t.tsv"]


def test_the_genuine_sample_is_read_as_the_csv_module_reads_it(tmp_path):
    path = shared("data/criteo_sample") / "criteo_head8k_39.tsv.gz"
    with gzip.open(path, "rt", newline="") as file:
        expected = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))

    log = prepare(
        reader(path),
        tmp_path / "log",
        split=ALL_TRAIN,
        encodings=Encodings(default="vocabulary"),
    )

    assert log.label.tolist() == [float(line[0]) for line in expected]
    assert log.label.mean() == pytest.approx(0.2160, abs=5e-5)
    np.testing.assert_allclose(
        log.dense, [[signed_log(text) for text in line[1:14]] for line in expected], rtol=1e-6
    )
    for column in range(26):
        assert same_classes(log.ids[:, column], [line[14 + column] for line in expected])


def test_a_directory_stands_for_its_data_files(tmp_path):
    sources = find_sources(Paths(train=[shared("data/criteo_sample")]), PATTERNS)

    log = prepare(Criteo(sources), tmp_path / "log")

    assert len(log) == 8000 + 4584
    assert len(log.splits["test"]) == 1258
