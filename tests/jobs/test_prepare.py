from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from jobs.command import exit_on_error
from jobs.prepare import prepare
from recsys.data.click_log import ClickLog
from recsys.errors import ConfigError, DataError
from tests.support.malformed import corpus
from tests.support.shared import ROOT
from tests.support.tables import criteo_line, write_100k, write_lines

CORPUS = corpus()
COMMAND = [sys.executable, "-m", "jobs.prepare"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
PATIENCE_S = 120


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    app = typer.Typer()
    app.command()(exit_on_error(prepare))
    return lambda *arguments: CliRunner().invoke(app, ["--output", "log", *arguments])


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """A click log that was prepared before, to be replaced."""
    log = tmp_path_factory.mktemp("earlier") / "log"
    prepare("synthetic", log, rows=100)
    return log


def contents_of(directory):
    files = (path for path in directory.rglob("*") if path.is_file())
    return names_in(directory), {path: path.read_bytes() for path in files}


def names_in(directory):
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


@pytest.mark.parametrize(
    ("place", "found"),
    [
        ("/proc/nowhere/log", "No such file or directory, expected a directory to write to"),
        ("file/log", "File exists, expected a directory to write to"),
        ("s3://bucket/log", "a URI, expected a path of this machine"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_by_its_option_before_any_reading(
    tmp_path, monkeypatch, place, found
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()

    with pytest.raises(ConfigError) as refused:
        prepare("movielens", Path(place), source=[tmp_path / "absent"])

    assert str(refused.value) == f"--output {Path(place)}: found {found}"
    assert names_in(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("output", "says"),
    [
        ("/proc", "/proc: found a mount point, which cannot be replaced"),
        (".", ".: found the working directory, or one above it, which cannot be replaced"),
        ("planted", ".planted.partial: found a link or a file, expected no such name"),
        ("circle", "circle: exists and is not a click log; it is unchanged"),
        ("x" * 300, f"{'x' * 300}: File name too long"),
        ("x" * 250, f"{'x' * 250}: File name too long"),
    ],
)
def test_an_output_that_cannot_be_replaced_is_refused_before_any_row_is_read(
    tmp_path, monkeypatch, output, says
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("jobs.prepare.prepare_log", lambda *_, **__: pytest.fail("work was done"))
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    (tmp_path / ".planted.partial").symlink_to("precious")
    (tmp_path / "circle").symlink_to("circle")
    before = names_in(tmp_path)

    with pytest.raises(DataError) as refused:
        prepare("synthetic", Path(output), rows=100)

    assert says in str(refused.value)
    assert names_in(tmp_path) == before


def test_an_output_that_links_to_a_large_disk_is_written_there(run, tmp_path):
    (tmp_path / "large" / "log").mkdir(parents=True)
    (tmp_path / "log").symlink_to("large/log")

    done = run("synthetic", "--rows", "100")

    assert done.exit_code == 0
    assert len(ClickLog.open(tmp_path / "large" / "log")) == 100
    assert (tmp_path / "log").is_symlink()


def test_the_corpus_has_more_than_230_cases_of_different_names():
    assert len({case.name for case in CORPUS}) == len(CORPUS) > 230


@pytest.mark.parametrize("case", CORPUS, ids=lambda case: case.name)
def test_malformed_input_is_refused_in_one_line_and_leaves_all_as_it_was(
    run, tmp_path, earlier, case
):
    shutil.copytree(earlier, tmp_path / "log")
    case.write(tmp_path)
    before = contents_of(tmp_path)

    result = (
        run("--replace", *case.arguments)
        if "--output" not in case.arguments
        else run(*case.arguments)
    )

    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("soloist: ")
    assert result.stderr.count("\n") == 1
    assert case.says in result.stderr
    assert len(result.stderr) < 1000
    assert result.stdout == ""
    assert contents_of(tmp_path) == before


@pytest.mark.parametrize("case", CORPUS[:: len(CORPUS) // 3], ids=lambda case: case.name)
def test_a_real_process_refuses_in_the_same_way(tmp_path, case):
    case.write(tmp_path)

    done = subprocess.run(
        [*COMMAND, "--output", "log", *case.arguments],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert case.says in done.stderr
    assert not (tmp_path / "log").exists()


def test_the_summary_tells_rows_rates_tables_and_the_fingerprint(run, tmp_path):
    write_100k(tmp_path)

    result = run(
        *("movielens", "--source", ".", "--threshold", "3", "--valid", "0", "--test", "0.4")
    )

    log = ClickLog.open(tmp_path / "log")
    assert result.exit_code == 0, result.stderr
    for expected in ("train", "0.6667", "test", "0.7500", "genres", "bag", log.fingerprint):
        assert expected in result.stdout
    assert "split by time; group: user" in result.stdout


def test_a_log_is_written_anew_when_that_is_asked(run, tmp_path):
    write_lines(tmp_path / "t.tsv", (criteo_line(row % 2) for row in range(40)))
    arguments = ("criteo", "--source", "t.tsv")
    run(*arguments)

    refused, replaced = (
        run(*arguments, "--valid", "0"),
        run(*arguments, "--valid", "0", "--replace"),
    )

    assert refused.exit_code == 2
    assert "--replace overwrites it" in refused.stderr
    assert replaced.exit_code == 0
    assert len(ClickLog.open(tmp_path / "log").splits["valid"]) == 0


def test_encodings_can_be_chosen_for_all_features_and_for_one(run, tmp_path):
    lines = (criteo_line(row % 2, [], ["a", f"{row}"]) for row in range(40))
    write_lines(tmp_path / "t.tsv", lines)

    result = run(
        *("criteo", "--source", "t.tsv", "--encoding", "hash:50", "--feature", "C1=vocabulary")
    )

    features = ClickLog.open(tmp_path / "log").schema.sparse
    assert result.exit_code == 0, result.stderr
    assert [feature.cardinality for feature in features] == [2, *[50] * 25]


def test_sources_can_be_named_as_splits(run, tmp_path):
    for name, rows in (("a", 10), ("b", 4), ("c", 6)):
        write_lines(tmp_path / f"{name}.tsv", (criteo_line(row % 2) for row in range(rows)))

    result = run(
        *("criteo", "--source", "a.tsv", "--valid-source", "b.tsv", "--test-source", "c.tsv")
    )

    assert result.exit_code == 0, result.stderr
    assert ClickLog.open(tmp_path / "log").splits == {
        "train": range(10),
        "valid": range(10, 14),
        "test": range(14, 20),
    }


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_preparation_leaves_nothing_that_passes_for_a_log(tmp_path, how):
    process = subprocess.Popen(
        [*COMMAND, "synthetic", "--rows", "100000000", "--output", "log"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
    )
    label = tmp_path / ".log.partial" / "staged" / "label.npy"
    try:
        wait_for(lambda: label.exists() and label.stat().st_size > 100_000)
        process.send_signal(how)
        process.wait(PATIENCE_S)
    finally:
        process.kill()
        process.communicate()

    assert process.returncode == (130 if how == signal.SIGINT else -how)
    assert not (tmp_path / "log").exists()
    with pytest.raises(DataError, match="not a click log"):
        ClickLog.open(tmp_path / "log")
    for leftover in tmp_path.rglob("*"):
        if leftover.is_dir():
            with pytest.raises(DataError):
                ClickLog.open(leftover)


def test_the_next_preparation_removes_what_a_killed_one_left(run, tmp_path):
    staged = tmp_path / ".log.partial" / "staged"
    staged.mkdir(parents=True)
    (staged / "label.npy").write_bytes(b"\x93NUMPY")

    result = run("synthetic", "--rows", "200")

    assert result.exit_code == 0, result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
    ClickLog.open(tmp_path / "log").verify()


def wait_for(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE_S} s"
        time.sleep(0.02)
