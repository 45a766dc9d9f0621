from __future__ import annotations

import io

from jobs.benchmark.prepare import _repeat, measure
from tests.support.tables import criteo_line, write_lines

LINES = [criteo_line(row % 2, [row], ["68fd1e64", "80e26c9b"]) for row in range(50)]
SAMPLE = "".join(f"{line}\n" for line in LINES).encode()


def repeated(rows, *, distinct):
    file = io.BytesIO()
    _repeat(SAMPLE, rows, file, distinct=distinct)
    return file.getvalue()


def test_a_preparation_is_measured_in_a_new_process(tmp_path):
    found = measure(write_lines(tmp_path / "t.tsv", LINES), "vocabulary:1")

    assert found.rows == 50
    assert found.cpu_s > 0
    assert found.wall_s > 0
    assert 0 < found.idle_bytes <= found.peak_bytes
    assert [path.name for path in tmp_path.iterdir()] == ["t.tsv"]


def test_a_sample_is_repeated_to_at_least_the_rows_requested():
    assert repeated(120, distinct=False) == SAMPLE * 3


def test_distinct_repetitions_share_no_category_and_all_else():
    rows = repeated(100, distinct=True).decode().splitlines()

    first, second = rows[:50], rows[50:]
    assert {row.split("\t")[14] for row in first} == {"000d1e64"}
    assert {row.split("\t")[14] for row in second} == {"001d1e64"}
    assert {row.split("\t")[15] for row in second} == {"00126c9b"}
    assert [row.split("\t")[:14] for row in second] == [line.split("\t")[:14] for line in LINES]
    assert all(len(row.split("\t")) == 40 for row in rows)
