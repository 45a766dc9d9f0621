from __future__ import annotations

import gzip

import pyarrow as pa
import pyarrow.parquet
import pytest

from recsys.data.preparation import prepare
from recsys.data.readers.movielens import MovieLens
from recsys.errors import DataError
from tests.support.preparing import ALL_TRAIN, prepared
from tests.support.tables import compressed, write_atomic, write_latest, write_lines

ROWS = ["y,c", "0,a", "1,b", "0,a", "1,"]


@pytest.mark.parametrize("end", ["", "\n", "\n\n", "\r\n\r\n", ",\n", ",\n,\n\n"])
@pytest.mark.parametrize("block_bytes", [1 << 21, 16])
def test_blank_lines_at_the_end_are_no_rows(tmp_path, monkeypatch, end, block_bytes):
    monkeypatch.setattr("recsys.data.readers.delimited._BLOCK_BYTES", block_bytes)
    (tmp_path / "t.csv").write_text("y,c\n0,a\n1,b\n0,a\n1,x\n" + end, newline="")

    assert len(prepared(tmp_path, tmp_path / "t.csv")) == 4


@pytest.mark.parametrize("block_bytes", [1 << 21, 16])
def test_a_blank_line_between_rows_is_refused(tmp_path, monkeypatch, block_bytes):
    monkeypatch.setattr("recsys.data.readers.delimited._BLOCK_BYTES", block_bytes)
    (tmp_path / "t.csv").write_text("y,c\n0,a\n1,b\n0,a\n1,x\n\n\n\n\n\n\n\n\n\n\n1,c\n0,c\n")

    with pytest.raises(DataError, match=r"t\.csv, row (6: is blank|6: y is missing)"):
        prepared(tmp_path, tmp_path / "t.csv")


def test_the_schema_names_the_columns_of_a_file_without_a_header(tmp_path):
    with_header = prepared(tmp_path, write_lines(tmp_path / "h.csv", ROWS), name="with")

    log = prepared(tmp_path, write_lines(tmp_path / "t.csv", ROWS[1:]), header=["y", "c"])

    assert log.fingerprint == with_header.fingerprint


@pytest.mark.parametrize("name", ["t.csv.gz", "t.csv.zst", "t.csv", "t.tsv.zst"])
@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_text_may_be_compressed_whatever_its_name(tmp_path, name, codec):
    plain = prepared(tmp_path, write_lines(tmp_path / "plain.csv", ROWS), name="plain")
    packed = compressed((tmp_path / "plain.csv").read_bytes(), codec)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / name).write_bytes(packed)

    assert prepared(tmp_path, tmp_path / "d").fingerprint == plain.fingerprint


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
@pytest.mark.parametrize("write", [write_atomic, write_latest])
def test_every_file_of_movielens_may_be_compressed(tmp_path, codec, write):
    plain, packed = write(tmp_path), tmp_path / "packed"
    packed.mkdir()
    suffix = {"gzip": ".gz", "zstd": ".zst"}[codec]
    expected = prepare(MovieLens(plain), tmp_path / "expected", split=ALL_TRAIN)
    for file in (path for path in plain.iterdir() if path.is_file()):
        (packed / f"{file.name}{suffix}").write_bytes(compressed(file.read_bytes(), codec))

    found = prepare(MovieLens(packed), tmp_path / "found", split=ALL_TRAIN)

    assert found.fingerprint == expected.fingerprint


def test_partitions_are_read_from_folders_and_name_a_column(tmp_path):
    for day, rows in (("2024-01-02", ROWS[3:]), ("2024-01-01", ROWS[1:3])):
        (tmp_path / "d" / f"dt={day}" / "region=a%2Fb").mkdir(parents=True)
        file = tmp_path / "d" / f"dt={day}" / "region=a%2Fb" / "part-0.csv"
        write_lines(file, ["y,c", *rows])
    (tmp_path / "d" / "_temporary").mkdir()
    (tmp_path / "d" / "_temporary" / "part-1.csv").write_text("broken")
    (tmp_path / "d" / ".part-0.csv.crc").write_bytes(b"\0")
    (tmp_path / "d" / "_SUCCESS").touch()
    schema = {
        "label": "y",
        "categorical": ["c", "region"],
        "time": {"name": "dt", "format": "%Y-%m-%d"},
    }

    log = prepared(tmp_path, tmp_path / "d", schema)

    assert log.label.tolist() == [0, 1, 0, 1]
    assert log.ids[:, 1].tolist() == [1, 1, 1, 1]


def test_a_partition_of_null_is_missing(tmp_path):
    for folder, rows in (("c=a", ["y", "0"]), ("c=__HIVE_DEFAULT_PARTITION__", ["y", "1"])):
        (tmp_path / "d" / folder).mkdir(parents=True)
        write_lines(tmp_path / "d" / folder / "t.csv", rows)

    log = prepared(tmp_path, tmp_path / "d")

    assert dict(zip(log.label.tolist(), log.ids[:, 0].tolist(), strict=True)) == {0: 1, 1: 0}


def test_parts_without_rows_are_skipped_unless_all_are(tmp_path):
    folder = tmp_path / "d"
    folder.mkdir()
    (folder / "a.csv").touch()
    write_lines(folder / "b.csv", ["y,c"])
    pa.parquet.write_table(pa.table({"y": pa.array([], pa.int64()), "c": []}), folder / "c.parquet")
    (folder / "d.csv.gz").write_bytes(gzip.compress(b"y,c\n"))

    with pytest.raises(DataError, match="has no rows"):
        prepared(tmp_path, folder)
    write_lines(folder / "e.csv", ROWS)
    assert len(prepared(tmp_path, folder)) == 4
    with pytest.raises(DataError, match=r"a\.csv: is empty"):
        prepared(tmp_path, folder / "a.csv", name="alone")


def test_a_file_beside_its_compressed_self_is_refused(tmp_path):
    write_lines(tmp_path / "t.csv", ROWS)
    (tmp_path / "t.csv.gz").write_bytes(compressed((tmp_path / "t.csv").read_bytes(), "gzip"))

    with pytest.raises(DataError, match=r"t\.csv\.gz: t\.csv is there too, expected one of them"):
        prepared(tmp_path, tmp_path)
