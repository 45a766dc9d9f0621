from __future__ import annotations

import gzip

import pytest

from recsys.data.readers.delimited import TextFormat, count_lines, read_text
from recsys.errors import DataError

TABS = TextFormat(delimiter="\t", names=("a", "b"), quoted=False)
LONG = 400_000  # rows: several of the blocks that are read at once


def read(path, form=None, wanted=("a", "b"), **options):
    rows = []
    for origin, batch in read_text(path, form or TextFormat(), wanted, **options):
        first = origin.first_row
        columns = [column.to_pylist() for column in batch.columns]
        rows += list(zip(range(first, first + batch.num_rows), *columns, strict=True))
    return rows


@pytest.mark.parametrize(
    "content",
    [
        b"a,b\n1,x\n2,y\n",
        b"a,b\r\n1,x\r\n2,y\r\n",
        b"a,b\n1,x\n2,y",
        b"\xef\xbb\xbfa,b\n1,x\n2,y\n",
        b'"a","b"\n"1","x"\n2,"y"\n',
        b"b,c,a\nx,?,1\ny,?,2\n",
        gzip.compress(b"a,b\n1,x\n", mtime=0) + gzip.compress(b"2,y\n", mtime=0),
    ],
)
def test_rows_are_read_whatever_the_dress(tmp_path, content):
    (tmp_path / "t.csv").write_bytes(content)

    assert read(tmp_path / "t.csv") == [(2, "1", "x"), (3, "2", "y")]


def test_without_a_header_rows_count_from_1(tmp_path):
    (tmp_path / "t").write_bytes(b'1\t"x\n2\t\n')

    assert read(tmp_path / "t", TABS) == [(1, "1", '"x'), (2, "2", None)]


def test_coded_columns_hold_the_same_values(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"a,b\n1,x\n2,\n1,x\n")

    found = read(tmp_path / "t.csv", coded={"b"})

    assert found == [(2, "1", "x"), (3, "2", None), (4, "1", "x")]


def test_rows_are_numbered_on_from_block_to_block(tmp_path):
    (tmp_path / "t").write_text("".join(f"{row}\tabcdefgh\n" for row in range(LONG)))

    found = read(tmp_path / "t", TABS)

    assert [row for row, *_ in found] == list(range(1, LONG + 1))
    assert [int(a) for _, a, _ in found] == list(range(LONG))


@pytest.mark.parametrize(
    ("bad", "message"),
    [(b"1", "expected 2 columns, found 1"), (b"1\t\xff", "not UTF-8 text")],
)
def test_an_error_in_a_late_block_names_the_row_in_the_file(tmp_path, bad, message):
    lines = [b"%d\tabcdefgh" % row for row in range(LONG)]
    lines[LONG - 7] = bad
    (tmp_path / "t").write_bytes(b"\n".join(lines))

    with pytest.raises(DataError, match=rf"t, row {LONG - 6}: {message}"):
        read(tmp_path / "t", TABS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'a,b\n1,"x\n2,y\n', "row 2: b holds a line break; is a quote left open"),
        (b'a,b\n1,x\n2,"y\nz"\n', "row 3: b holds a line break"),
        (b"a,c\n1,x\n", "column 'b' is missing, it has a, c"),
        (b"a,a,b\n1,2,x\n", "row 1: column 'a' appears twice"),
        (b"\n1,x\n", "row 1: is blank"),
        (b"a,b", "has no rows"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, content, message):
    (tmp_path / "t.csv").write_bytes(content)

    with pytest.raises(DataError, match=message):
        read(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"1\n2\n", 2),
        (b"1\n2", 2),
        (b"\n", 0),
        (b"1\r\n\r\n\n", 1),
        (b"1\n\n2\n", 3),
        (gzip.compress(b"1\n2", mtime=0), 2),
    ],
)
def test_lines_are_counted_with_or_without_a_last_end(tmp_path, content, lines):
    (tmp_path / "t").write_bytes(content)

    assert count_lines(tmp_path / "t") == lines
