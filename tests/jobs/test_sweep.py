"""Sweeps as a person runs, stops and repeats them."""

from __future__ import annotations

import math
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from threading import Barrier

import pandas as pd
import pytest
from ray._private.utils import get_num_cpus

from analysis.results.reading import read_sweep
from analysis.results.spending import read_spending
from distrib.trials import results
from distrib.trials.grouping import Group
from distrib.trials.remote_results import Results
from distrib.trials.results import read_trial, trial_directory
from jobs.command import exit_on_error
from jobs.experiment.loading import load_experiment
from jobs.experiment.planning import plan
from jobs.progress import read_status, train_groups
from jobs.report import report
from jobs.sweep import sweep
from recsys.data.click_log import ClickLog
from tests.support.experiments import (
    Malformed,
    malformed_experiments,
    small_experiment,
    write_experiment,
)
from tests.support.logs import small_log
from tests.support.running import PATIENCE_S, finished, probe_here, started, wait_until


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> ClickLog:
    return small_log(tmp_path_factory.mktemp("sweep"))


@pytest.fixture
def experiment(log, tmp_path) -> str:
    return str(write_experiment(tmp_path / "small.yaml", small_experiment(log.directory)))


def predicted(directory: Path) -> dict[str, list[float]]:
    """Return the logits of the finished trials."""
    return {
        path.parent.name: pd.read_parquet(path)["logit"].tolist()
        for path in directory.glob("trials/[!.]*/predictions.parquet")
    }


@pytest.mark.usefixtures("ray_cluster")
def test_a_second_sweep_runs_nothing_and_a_changed_arm_its_own_trials_alone(
    experiment, log, tmp_path, monkeypatch
):
    reported: list[Results] = []
    monkeypatch.setattr("jobs.sweep.make_report", reported.append)
    directory = tmp_path / "results"
    change = ["arms.smelu.activation=smelu(beta=2)"]
    relu, smelu = (
        {trial_directory(Path(), trial).name for trial in arm.trials}
        for arm in plan(load_experiment(experiment, change), log)
    )

    sweep(experiment, output=directory)
    first = finished(directory)
    sweep(experiment, output=directory)
    second = finished(directory)
    sweep(experiment, change, output=directory)
    third = finished(directory)

    assert len(first) == 4
    assert second == first
    assert third.items() > first.items()
    assert relu < first.keys()
    assert third.keys() - first.keys() == smelu
    assert reported == [Results(directory=directory)] * 3


@pytest.mark.usefixtures("ray_cluster")
def test_weights_that_were_not_kept_cost_a_training_that_predicts_the_same(
    experiment, tmp_path, monkeypatch
):
    monkeypatch.setattr("jobs.sweep.make_report", lambda results: None)
    directory = tmp_path / "results"

    sweep(experiment, output=directory)
    without = finished(directory)
    predictions = predicted(directory)
    sweep(experiment, output=directory, keep_weights=True)
    kept = finished(directory)
    sweep(experiment, output=directory, keep_weights=True)

    assert without.keys() == kept.keys()
    assert not without.items() & kept.items()
    assert predicted(directory) == predictions
    assert len(list(directory.glob("trials/*/weights.safetensors"))) == 4
    assert finished(directory) == kept


def trials_told(directory: Path, *, since: float) -> int:
    """Return how many trials a driver that began after a moment says are done."""
    told = read_status(directory)
    return told.status.trials_done if told is not None and told.began_s > since else 0


@pytest.mark.timeout(5 * PATIENCE_S)
@pytest.mark.usefixtures("ray_cluster")
def test_a_killed_and_an_interrupted_sweep_go_on_with_what_is_missing(log, tmp_path, capsys):
    directory, gate = tmp_path / "results", tmp_path / "gate"
    document = small_experiment(log.directory, fuse=1)
    # Without it no sweep ends; it needs no CPU, and so does not wait for the others.
    gated = {"gate": str(gate), "waits_at": 20}
    document["arms"]["smelu"] |= {
        "replicas": 1,
        "model": {"name": "tests.support.custom_model:gated", "options": gated},
        "engine": {"resources": {"num_cpus": 0}},
    }
    experiment = str(write_experiment(tmp_path / "small.yaml", document))
    # Each trial takes all CPUs that Ray counts here: one after another.
    apart = f"arms.relu.engine.resources.num_cpus={get_num_cpus()}"

    killed = started("sweep", experiment, directory, "replicas=6", apart)
    wait_until(lambda: len(finished(directory)) >= 1, killed)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    killed_at, after_kill = time.time(), finished(directory)

    interrupted = started("sweep", experiment, directory, "replicas=12", apart)
    # A worker of the one that was killed may have finished a trial more: these are its own.
    wait_until(lambda: trials_told(directory, since=killed_at) >= 1, interrupted)
    os.kill(interrupted.pid, signal.SIGINT)
    _, said = interrupted.communicate(timeout=PATIENCE_S)
    after_interrupt = finished(directory)

    gate.touch()
    sweep(experiment, ["replicas=15"], output=directory)
    table, progress = capsys.readouterr()
    after_all = finished(directory)

    missing = 16 - len(after_interrupt)
    assert interrupted.returncode == 130
    assert said.splitlines()[-1].startswith("soloist: interrupted")
    assert after_kill.items() < after_interrupt.items() < after_all.items()
    assert len(after_all) == 16
    assert f"{missing}/{missing} trials" in progress
    assert "smelu" in table
    assert (directory / "report" / "tradeoff.csv").exists()


@pytest.mark.usefixtures("ray_cluster")
def test_two_sweeps_into_one_directory_at_the_same_time_lose_nothing(
    experiment, log, tmp_path, monkeypatch
):
    directory, planned = tmp_path / "results", Barrier(2)

    def train_together(*at, **settings):
        planned.wait(PATIENCE_S)  # both have found that everything is missing
        return train_groups(*at, **settings)

    monkeypatch.setattr("jobs.sweep.train_groups", train_together)
    monkeypatch.setattr("jobs.sweep.make_report", lambda results: None)

    with ThreadPoolExecutor(2) as pool:
        sweeps = [
            pool.submit(sweep, experiment, [f"replicas={replicas}"], output=directory)
            for replicas in (2, 3)
        ]
        for each in sweeps:
            each.result()

    trials = {
        trial_directory(directory, trial)
        for arm in plan(load_experiment(experiment, ["replicas=3"]), log)
        for trial in arm.trials
    }
    assert set((directory / "trials").iterdir()) == trials
    assert [read_trial(place).data_fingerprint for place in trials] == [log.fingerprint] * 6
    assert {arm.planned == len(arm.done) for arm in read_sweep(directory).arms} == {True}
    assert sorted(path.name for path in directory.iterdir() if path.name != "trials") == [
        "slices.parquet",
        "sweep.json",
        "sweep_cost.json",
    ]


@pytest.mark.usefixtures("ray_cluster")
def test_a_disk_that_fills_up_in_the_middle_of_a_sweep_costs_what_was_not_written_alone(
    log, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("jobs.sweep.make_report", lambda results: None)
    monkeypatch.setattr(
        "distrib.trials.results._write_json", results._write_json
    )  # the model changes it
    directory, full = tmp_path / "results", tmp_path / "full"
    full.touch()
    document = small_experiment(log.directory)
    document["arms"]["smelu"] |= {
        "model": {
            "name": "tests.support.custom_model:on_a_full_disk",
            "options": {"full": str(full)},
        },
    }
    experiment = str(write_experiment(tmp_path / "small.yaml", document))

    with pytest.raises(SystemExit) as ended:
        exit_on_error(sweep)(experiment, output=directory)
    said = capsys.readouterr().err.splitlines()
    kept = finished(directory)
    left = sorted(path.name for path in directory.glob("trials/*/*"))
    hidden = list(directory.glob("trials/.*"))
    full.unlink()
    sweep(experiment, output=directory)
    after = finished(directory)

    assert ended.value.code == 1
    assert said[-3] == "soloist: 2 of 4 trials failed:"
    assert all("No space left on device" in line for line in said[-2:])
    assert len(kept) == 2
    assert hidden == []
    assert left.count("error.txt") == 2
    assert len(after) == 4
    assert kept.items() < after.items()


@pytest.mark.usefixtures("ray_cluster")
def test_a_sweep_into_an_object_store_is_found_there_by_the_next_and_by_the_report(
    experiment, s3, capsys, monkeypatch
):
    monkeypatch.setattr("jobs.report.draw", lambda summary, place: [])
    bucket = s3.new_bucket()
    uri = s3.uri(bucket, "results/small")

    sweep(experiment, output=uri)
    trained = capsys.readouterr().out
    first = s3.names(bucket)
    sweep(experiment, output=uri, dry_run=True)
    planned = capsys.readouterr().out
    s3.client().delete_object(Bucket=bucket, Key="results/small/report/tradeoff.md")
    report(uri)
    shown = capsys.readouterr().out

    assert sum(name.endswith("/DONE") for name in first) == 4
    assert {"results/small/sweep.json", "results/small/report/tradeoff.csv"} <= set(first)
    assert f"0 trials to train in 0 processes, into s3://{bucket}/results/small" in planned
    assert s3.names(bucket) == first
    assert f"s3://{bucket}/results/small/report" in shown
    verdict = trained.splitlines()[-1]
    assert "ReLU" in verdict
    assert shown.splitlines()[-1] == verdict


@pytest.mark.usefixtures("ray_cluster")
def test_a_failed_trial_is_listed_and_ends_the_sweep_with_status_1(
    experiment, tmp_path, capsys, monkeypatch
):
    reported: list[Results] = []
    monkeypatch.setattr("jobs.sweep.make_report", reported.append)
    directory = tmp_path / "results"
    words = ["replicas=1", "arms.smelu.optimizer.sparse_learning_rate=1e39"]

    with pytest.raises(SystemExit) as ended:
        exit_on_error(sweep)(experiment, words, output=directory)

    summary, failure = capsys.readouterr().err.splitlines()[-2:]
    (report,) = directory.glob("trials/*/error.txt")
    assert ended.value.code == 1
    assert summary == "soloist: 1 of 2 trials failed:"
    assert failure.startswith("  smelu: ")
    assert failure.endswith(f"({report.resolve()})")
    assert reported == [Results(directory=directory)]
    assert len(finished(directory)) == 1


def test_an_output_that_cannot_be_written_is_refused_before_anything_is_trained(
    experiment, tmp_path, capsys
):
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(SystemExit) as ended:
        exit_on_error(sweep)(experiment, [], output=tmp_path / "file" / "results")

    (line,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2
    assert line.endswith("found Not a directory, expected a directory to write to")


@pytest.mark.parametrize(
    ("words", "basis"),
    [
        (["fuse=1"], "a probe of 30 batches"),
        (["fuse=1", "engine.name=async"], "if workers scale"),
        (["fuse=1", "engine.name=sync"], "if workers scale"),
    ],
)
def test_a_dry_run_shows_plan_and_cost_by_a_probe_and_writes_nothing(
    experiment, tmp_path, capsys, monkeypatch, words, basis
):
    monkeypatch.setattr("jobs.costs.ray_session", nullcontext)
    monkeypatch.setattr("jobs.costs.run_probes", probe_here)
    sweep(experiment, words, output=tmp_path / "results", dry_run=True, price_per_core_hour=1e9)

    shown = capsys.readouterr().out
    assert "smelu(beta=1)" in shown
    assert "0/2" in shown
    assert f"4 trials to train in 4 processes, into {tmp_path / 'results'}" in shown
    assert "A probe of 2 shapes of arms took" in shown
    assert basis in shown
    assert "unknown" not in shown
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("price", [None, 1e9])
def test_a_start_tells_the_money_before_it_trains_where_a_price_is_known(
    experiment, tmp_path, capsys, monkeypatch, price
):
    told = []
    monkeypatch.setattr("jobs.costs.ray_session", nullcontext)
    monkeypatch.setattr("jobs.costs.run_probes", probe_here)
    monkeypatch.setattr(
        "jobs.sweep.train_groups", lambda *_, **__: told.append(capsys.readouterr().out) or []
    )

    sweep(experiment, output=tmp_path / "results", price_per_core_hour=price)

    (before,) = told
    spending = read_spending(tmp_path / "results")
    is_known = [not math.isnan(row.money) for row in spending.estimated]
    assert is_known == [price is not None] * 2
    assert ("core-hours" in before) == (price is not None)
    assert ("USD (a probe of 30 batches)" in before) == (price is not None)
    assert ("hours unknown until a trial of each is done" in before) == (price is None)


def test_a_recorded_sweep_trains_trials_that_keep_their_order(log, tmp_path, monkeypatch):
    trained: list[Group] = []
    monkeypatch.setattr("jobs.sweep.train_groups", lambda *at, **_: trained.extend(at[2]) or [])
    path = write_experiment(tmp_path / "small.yaml", small_experiment(log.directory))

    sweep(str(path), ["engine.name=async"], output=tmp_path / "results", record=True)

    kept = [group.recipe.engine.record for group in trained for _ in group.trials]
    assert kept == [True] * 4


def test_a_sweep_that_has_nothing_to_record_is_refused(experiment, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        exit_on_error(sweep)(experiment, output=tmp_path / "results", record=True)

    assert ended.value.code == 2
    assert "soloist: --record: found engine local for arms.relu" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_a_sweep_says_that_it_does_not_search(log, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("jobs.costs.estimated_costs", lambda *_, **__: ())
    searched = {"arm": "smelu", "low": 0.1, "high": 4, "epsilon": 0.05}
    document = small_experiment(log.directory, search=searched)
    path = write_experiment(tmp_path / "small.yaml", document)

    sweep(str(path), output=tmp_path / "results", dry_run=True)

    assert capsys.readouterr().out.startswith("search: ignored by a sweep, ")


def test_a_sweep_without_its_click_log_ends_with_status_2_before_it_starts(tmp_path, capsys):
    document = small_experiment(tmp_path / "absent")
    path = write_experiment(tmp_path / "small.yaml", document)

    with pytest.raises(SystemExit) as ended:
        exit_on_error(sweep)(str(path), output=tmp_path / "results")

    assert ended.value.code == 2
    assert "soloist prepare synthetic --output" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("case", malformed_experiments(), ids=lambda case: case.name)
def test_a_malformed_experiment_is_refused_in_one_line_with_status_2(
    tmp_path, capsys, case: Malformed
):
    path = tmp_path / "malformed.yaml"
    path.write_bytes(case.content)

    with pytest.raises(SystemExit) as ended:
        exit_on_error(sweep)(str(path), list(case.overrides), output=tmp_path / "results")

    (line,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2
    assert line.startswith(f"soloist: {path}")
    assert len(line) < 400
    assert [said for said in case.says if said not in line] == []
    assert not (tmp_path / "results").exists()
