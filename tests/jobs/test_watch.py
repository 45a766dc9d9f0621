"""``soloist watch`` tells how far a sweep is from its files alone."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from analysis.results.reading import MANIFEST, ArmResults, Trial, read_sweep
from distrib.scheduling.status import ERROR, Running, Status
from distrib.trials.folder import Folder
from distrib.trials.remote_results import Results, everything
from jobs.progress import STATUS, StatusFile, StatusRecord, read_status
from jobs.trial_lookup import fetch_again, sweep_at
from jobs.watch import Progress, SweepState, SweepView, headline, progress, watch
from tests.support.results import SyntheticArm, write_sweep
from tests.support.shared import ROOT

PATIENCE_S = 120
UNFINISHED = SyntheticArm(name="relu", noise=0.5, unfinished=(1, 2, 3))


def status(*running: Running, **changes: float) -> Status:
    values = {
        "trials_done": 1,
        "trials_failed": 0,
        "trials": 4,
        "examples_done": 3000,
        "work_done": 250.0,
        "work": 1000,
    }
    return Status(**(values | changes), running=running)


def running(*trials: str, examples_done: int = 500) -> Running:
    return Running(title="relu", trials=trials, examples_done=examples_done, examples=1000)


def row(places: tuple[Path, ...], done: tuple[int, ...] = ()) -> ArmResults:
    return ArmResults(
        name="relu",
        places=places,
        done=tuple(Trial(directory=places[number], replica=number) for number in done),
        kind="single",
        model="mlp",
        activation="relu",
        beta=float("nan"),
        components=1,
    )


def failed(place: Path, reason: str) -> None:
    place.mkdir(parents=True, exist_ok=True)
    (place / ERROR).write_text(f"{reason}\n\nTraceback (most recent call last)\n")


def test_trials_are_counted_by_what_has_become_of_them(tmp_path):
    places = tuple(tmp_path / name for name in ("done", "failed", "half", "waiting", "untouched"))
    failed(places[1], "TrialFailed: diverged")

    found = progress(row(places, done=(0,)), [running("half"), running("waiting", examples_done=0)])

    assert found == Progress(
        name="relu", planned=5, done=1, failed=1, running=1, waiting=1, share=(1 + 0.5) / 5
    )


def test_a_failed_trial_that_is_tried_again_is_running_and_no_failure(tmp_path):
    failed(tmp_path / "again", "TrialFailed: diverged")

    found = progress(row((tmp_path / "again",)), [running("again")])

    assert (found.failed, found.running) == (0, 1)


@pytest.mark.parametrize(
    ("silent_s", "words"),
    [
        (1, "synthetic: 1/4 trials, 300 examples/s, 0:30 left"),
        (
            130,
            "synthetic: 1/4 trials, 300 examples/s, 0:30 left; no heartbeat from its driver"
            " for 2:10: if it crashed, run the same command to continue",
        ),
    ],
)
def test_the_first_line_tells_pace_and_time_left_and_whether_the_driver_is_silent(
    tmp_path, silent_s, words
):
    sweep = read_sweep(write_sweep(tmp_path, (UNFINISHED,)))
    told = StatusRecord(began_s=100.0, told_s=110.0, status=status())

    assert headline(SweepState(sweep=sweep, status=told), now_s=110.0 + silent_s) == words


def test_a_status_is_read_as_it_was_told_and_gone_when_the_run_is_over(tmp_path):
    told = status(running("one", "two"))

    with StatusFile(tmp_path) as file:
        file(told)
        found = read_status(tmp_path)
        left = {path.name for path in tmp_path.iterdir()}

    assert found is not None
    assert found.status == told
    assert found.elapsed_s >= 0
    assert left == {STATUS}
    assert read_status(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_a_running_sweep_is_shown_with_its_failures_and_the_table_so_far(tmp_path, capsys):
    arms = (UNFINISHED, SyntheticArm(name="smelu_1", noise=0.3, activation="smelu", beta=1.0))
    write_sweep(tmp_path, arms)
    failed(tmp_path / "trials/relu1", "TrialFailed: replica 0 diverged")

    with StatusFile(tmp_path) as file:
        file(status(running("relu2")))
        watch(str(tmp_path), once=True)

    shown = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert shown[0].startswith("synthetic: 1/4 trials")
    assert any(line.startswith("relu 1/4 1 1 ━") for line in shown)
    assert "1 finished 4/4" in shown
    assert "relu: TrialFailed: replica 0 diverged (trials/relu1/error.txt)" in shown
    assert any(line.startswith("smelu_1 0.5") and "[" in line for line in shown)


def test_a_directory_without_a_sweep_says_so(tmp_path, capsys):
    watch(str(tmp_path / "none"), once=True)

    assert capsys.readouterr().out.endswith("none: no sweep has begun here yet\n")


def test_results_at_a_uri_are_fetched_and_shown_and_nothing_is_written_there(tmp_path, capsys):
    write_sweep(tmp_path, (UNFINISHED,))
    failed(tmp_path / "trials/relu1", "TrialFailed: replica 0 diverged")
    before = sorted(tmp_path.rglob("*"))

    watch(tmp_path.as_uri())

    shown = capsys.readouterr().out
    assert shown.startswith("synthetic: 1/4 trials, no driver reports here\n")
    assert "relu: TrialFailed: replica 0 diverged" in shown
    assert "relative PD" in shown
    assert sorted(tmp_path.rglob("*")) == before


def test_what_runs_and_what_comes_at_a_uri_is_seen_at_the_next_look(tmp_path):
    lies, mirror = tmp_path / "lies", tmp_path / "mirror"
    write_sweep(lies, (UNFINISHED,))
    results = Results(directory=mirror, uri=lies.as_uri())
    look = SweepView(mirror, fetch=lambda: fetch_again(results, everything))

    with StatusFile(tmp_path, Folder(lies.as_uri())) as file:
        file(status(running("relu2")))
        before = look.state()
        (lies / "trials/relu1/DONE").touch()
        after = look.state()
    over = look.state()

    assert [each.progress[0].running for each in (before, after, over)] == [1, 1, 0]
    assert [each.progress[0].done for each in (before, after, over)] == [1, 2, 2]
    assert over.status is None


def test_a_status_that_cannot_be_written_stops_nothing(tmp_path):
    (tmp_path / "file").write_text("in the way of the directory")

    with StatusFile(tmp_path / "file" / "results") as file:
        file(status())

    assert (tmp_path / "file").read_text() == "in the way of the directory"


def test_a_status_that_cannot_be_told_elsewhere_stops_nothing(tmp_path):
    (tmp_path / "file").write_text("in the way")

    with StatusFile(tmp_path, Folder(str(tmp_path / "file"))) as file:
        file(status())

        assert read_status(tmp_path) is not None


def test_the_trials_that_a_search_at_a_uri_shares_are_seen(tmp_path):
    write_sweep(tmp_path, (UNFINISHED,))
    manifest = (tmp_path / MANIFEST).read_text()
    (tmp_path / MANIFEST).unlink()
    (tmp_path / "search").mkdir()
    (tmp_path / "search" / MANIFEST).write_text(manifest.replace("trials/", "../trials/"))

    with sweep_at(f"{tmp_path.as_uri()}/search", writes=False) as results:
        (arm,) = read_sweep(results.directory).arms

        assert [trial.replica for trial in arm.done] == [0]


def test_of_what_lies_beside_a_search_only_trials_are_fetched(tmp_path, monkeypatch):
    home = tmp_path / "home"
    write_sweep(home, (UNFINISHED,))
    manifest = (home / MANIFEST).read_text().replace("trials/", "../trials/")
    (home / "search").mkdir()
    (home / "search" / MANIFEST).write_text(manifest)
    (home / "diary").write_text("dear")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    with sweep_at(f"{home.as_uri()}/search", writes=False) as results:
        fetched = {path.name for path in results.directory.parent.iterdir()}

    assert fetched == {"results", "trials"}


def test_a_reason_that_is_no_text_and_does_not_end_is_shown_in_part(tmp_path):
    write_sweep(tmp_path, (UNFINISHED,))
    failed(tmp_path / "trials/relu1", "")
    (tmp_path / "trials/relu1" / ERROR).write_bytes(b"\xff" * 10**6)

    seen = SweepView(tmp_path).state()

    assert seen is not None
    assert [len(each.reason) for each in seen.failures] == [1000]


def test_a_trial_that_another_sweep_finished_is_no_failure(tmp_path):
    write_sweep(tmp_path, (SyntheticArm(name="relu", noise=0.5),))
    (done,) = tmp_path.glob("trials/*0/DONE")
    (done.parent / ERROR).write_text("killed")

    seen = SweepView(tmp_path).state()

    assert seen is not None
    assert seen.failures == ()


def test_before_the_first_trial_is_finished_there_is_no_table(tmp_path, capsys):
    write_sweep(tmp_path, (SyntheticArm(name="relu", noise=0.5, unfinished=(0, 1, 2, 3)),))

    watch(str(tmp_path))

    shown = capsys.readouterr().out
    assert shown.startswith("synthetic: 0/4 trials, no driver reports here\n")
    assert shown.endswith("No trial is finished yet: there is no table.\n")


def test_the_table_is_made_anew_only_when_a_trial_has_finished(tmp_path, monkeypatch):
    write_sweep(tmp_path, (UNFINISHED,))
    made = []
    monkeypatch.setattr("jobs.watch.summarize", made.append)
    monkeypatch.setattr("jobs.watch.page", lambda summary: summary)
    monkeypatch.setattr("jobs.watch.as_terminal", str)
    look = SweepView(tmp_path)

    look()
    look()
    before = len(made)
    (tmp_path / "trials/relu1/DONE").touch()
    look()

    assert (before, len(made)) == (1, 2)


def test_only_a_sweep_of_which_all_is_finished_is_over(tmp_path):
    finished = read_sweep(write_sweep(tmp_path))
    unfinished = read_sweep(write_sweep(tmp_path / "another", (UNFINISHED,)))
    told = StatusRecord(began_s=0.0, told_s=1.0, status=status())

    assert SweepState(sweep=finished, status=None).is_over
    assert not SweepState(sweep=finished, status=told).is_over
    assert not SweepState(sweep=unfinished, status=None).is_over


def test_on_a_terminal_it_is_left_with_ctrl_c_and_status_0_and_needs_neither_ray_nor_torch(
    tmp_path,
):
    write_sweep(tmp_path, (UNFINISHED,))
    program = (
        "import sys; from jobs.watch import watch; from jobs.command"
        " import exit_on_error; exit_on_error(watch)(sys.argv[1], every=0.1);"
        "print('strangers:', *{'ray', 'torch'} & set(sys.modules))"
    )
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        cwd=ROOT,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "120", "LINES": "40"},
    )
    os.close(theirs)

    shown = _read_until(ours, "relative PD")
    process.send_signal(signal.SIGINT)
    shown += _read_until(ours, None)

    assert process.wait(timeout=PATIENCE_S) == 0
    assert "synthetic: 1/4 trials, no driver reports here" in shown
    assert shown.rstrip().endswith("strangers:")
    os.close(ours)


def _read_until(terminal: int, words: str | None) -> str:
    """Return what a terminal shows until some words or its end, within a while."""
    shown, deadline = "", time.monotonic() + PATIENCE_S
    while (words is None or words not in shown) and time.monotonic() < deadline:
        try:
            shown += os.read(terminal, 65536).decode(errors="replace")
        except OSError:  # the other side is closed
            break
    return shown
