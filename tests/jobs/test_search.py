"""Searches as a person runs, stops and repeats them."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from analysis.results.reading import read_sweep
from analysis.results.spending import read_spending
from analysis.tradeoff import tradeoff_table
from jobs.command import exit_on_error
from jobs.export import export
from jobs.report import report
from jobs.search import search
from recsys.data.click_log import ClickLog
from recsys.errors import ConfigError
from recsys.serving.loader import load
from tests.support.experiments import small_experiment, write_experiment
from tests.support.logs import small_log
from tests.support.running import finished, probe_here, started, train_here, wait_until

SEARCH = {
    "arm": "smelu",
    "low": 0.1,
    "high": 4,
    "epsilon": 0.05,
    "points": 3,
    "rounds": 2,
    "replicas": 3,
    "max_replicas": 3,
    "confirm": 0,
}


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> ClickLog:
    return small_log(tmp_path_factory.mktemp("search"))


@pytest.fixture
def without_ray(monkeypatch) -> Callable[[], None]:
    """Return what lets searches train in this process from now on."""

    def switch() -> None:
        monkeypatch.setattr("jobs.tuning.training.train_groups", train_here)
        monkeypatch.setattr("jobs.tuning.training.ray_session", nullcontext)
        monkeypatch.setattr("jobs.costs.ray_session", nullcontext)
        monkeypatch.setattr("jobs.costs.run_probes", probe_here)

    return switch


def written(path: Path, log: ClickLog, **changes: Any) -> str:
    document = small_experiment(log.directory, search=SEARCH | changes)
    return str(write_experiment(path / "small.yaml", document))


def answer(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "search" / "search.json").read_text())


@pytest.mark.timeout(1500)
def test_a_search_killed_and_started_again_runs_the_rest_alone_and_answers_alike(
    log, tmp_path, without_ray
):
    experiment = written(tmp_path, log)
    directory, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"

    # Each training apart, so that there is a middle to be killed in.
    killed = started("search", experiment, directory, "fuse=1")
    wait_until(lambda: len(finished(directory)) >= 2, killed)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    before = finished(directory)
    without_ray()
    search(experiment, output=directory)
    after = finished(directory)
    search(experiment, output=directory)
    search(experiment, output=undisturbed)

    found, expected = answer(directory), answer(undisturbed)
    assert 2 <= len(before) < len(after)
    assert before.items() < after.items()
    assert finished(directory) == after
    assert finished(undisturbed).keys() == after.keys()
    assert found["outcome"] == expected["outcome"] == "found"
    assert found["rivals"] == expected["rivals"]
    assert found["best"]["value"] == expected["best"]["value"]
    losses = [
        [each["log_loss"]["value"] for each in one["candidates"]] for one in (found, expected)
    ]
    # Replicas that ran side by side and alone agree but for rounding.
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_a_value_that_fails_is_left_out_and_listed_and_the_others_are_judged(
    log, tmp_path, capsys, without_ray
):
    without_ray()
    rate = {"parameter": "optimizer.sparse_learning_rate", "low": 0.01, "high": 1e38}
    experiment = written(tmp_path, log, rounds=1, scale="linear", **rate)

    with pytest.raises(SystemExit) as ended:
        exit_on_error(search)(experiment, output=tmp_path / "results", price_per_core_hour=1.0)

    told = capsys.readouterr()
    found = answer(tmp_path / "results")
    table = tradeoff_table(tmp_path / "results" / "search")
    spent = read_spending(tmp_path / "results" / "search")
    assert ended.value.code == 1
    assert "smelu@1e+38: " in told.err
    assert found["outcome"] == "found"
    assert found["best"]["value"] == 0.01
    assert "diverged" in found["candidates"][-1]["failed"]
    assert found["told"][0] in told.out.replace("\n", " ").replace("  ", " ")
    assert list(table["arm"]) == ["relu", "smelu@0.01", "smelu@5e+37", "smelu@1e+38"]
    assert spent is not None
    assert spent.actual[0].arm == "relu"
    assert spent.actual[0].money > 0


def test_a_winner_is_confirmed_on_replicas_that_took_no_part_and_paid_for(
    log, tmp_path, without_ray
):
    without_ray()
    directory = tmp_path / "results"

    search(written(tmp_path, log, rounds=1), output=directory)
    before, chosen = finished(directory), answer(directory)
    search(written(tmp_path, log, rounds=1, confirm=4), output=directory)

    confirmed = answer(directory)
    spent = read_spending(directory / "search")
    assert chosen["confirmed"] is None
    assert confirmed["best"] == chosen["best"]
    assert confirmed["confirmed"]["replicas"] == 4
    assert confirmed["confirmed"]["log_loss"] != confirmed["best"]["log_loss"]
    assert len(finished(directory)) == len(before) + 8
    assert sum(row.trials for row in spent.actual) == len(before) + 8


def test_the_weights_of_what_was_confirmed_are_kept_and_exported_as_the_answer_says(
    log, tmp_path, capsys, without_ray
):
    without_ray()
    directory, program = tmp_path / "results", tmp_path / "program"
    experiment = written(tmp_path, log, rounds=1, confirm=3)

    search(experiment, output=directory)
    before = answer(directory)
    search(experiment, output=directory, keep_weights=True)
    told = capsys.readouterr().out.splitlines()
    place, _, arm, *_ = told[-1].removeprefix("Export it with: soloist export ").split()
    export(place, program, data=log.directory, arm=arm, replica=1)

    confirmed = read_sweep(place).arms
    found = answer(directory)
    kept = {path.parent.name for path in directory.glob("trials/*/weights.safetensors")}
    assert [len(each.done) for each in confirmed] == [3, 3]
    assert kept == {trial.directory.name for each in confirmed for trial in each.done}
    assert arm == f"smelu@{found['best']['value']:g}" == confirmed[1].name
    assert found["confirmed"] == before["confirmed"]
    assert load(program).description.trial["name"] == confirmed[1].done[1].directory.name


def test_weights_of_a_confirmation_that_is_not_wanted_are_refused(log, tmp_path, without_ray):
    without_ray()

    with pytest.raises(ConfigError, match=r"--keep-weights: found search\.confirm=0, expected"):
        search(written(tmp_path, log), output=tmp_path / "results", keep_weights=True)

    assert not (tmp_path / "results").exists()


def test_a_search_at_a_uri_answers_there_goes_on_from_there_and_is_reported_from_there(
    log, s3, tmp_path, capsys, monkeypatch, without_ray
):
    without_ray()
    monkeypatch.setattr("jobs.report.draw", lambda summary, place: [])
    experiment = written(tmp_path, log, rounds=1)
    bucket = s3.new_bucket()
    uri = s3.uri(bucket, "results/small")

    search(experiment, output=uri)
    first = s3.names(bucket)
    monkeypatch.setattr("jobs.tuning.training.train_groups", None)  # nothing is to train
    search(experiment, output=uri)
    capsys.readouterr()
    report(s3.uri(bucket, "results/small/search"))

    shown = capsys.readouterr().out
    kept = s3.client().get_object(Bucket=bucket, Key="results/small/search/search.json")
    assert json.loads(kept["Body"].read())["outcome"] == "found"
    assert sum(name.endswith("/DONE") for name in first) == 12
    assert {name for name in first if "/trials/" in name} <= set(s3.names(bucket))
    assert sum(name.endswith("/DONE") for name in s3.names(bucket)) == 12
    assert "results/small/search/report/report.html" in s3.names(bucket)
    assert "smelu@0.6325" in shown
    assert "Missing trials" not in shown


def test_an_experiment_without_a_search_is_refused(log, tmp_path, capsys):
    experiment = str(write_experiment(tmp_path / "small.yaml", small_experiment(log.directory)))

    with pytest.raises(SystemExit) as ended:
        exit_on_error(search)(experiment, output=tmp_path / "results")

    assert ended.value.code == 2
    assert "search: missing; expected fields such as" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_a_dry_run_shows_the_first_round_and_what_all_can_cost_at_most(
    log, tmp_path, capsys, without_ray
):
    without_ray()
    experiment = written(tmp_path, log)

    search(experiment, ["fuse=3"], output=tmp_path / "results", dry_run=True)

    shown = capsys.readouterr().out
    assert "round 1 of 2: activation.beta of smelu = 0.1, 0.6325, 4" in shown
    assert "12 trials to train in 4 processes" in shown
    # 3 values in each of 2 rounds and the baseline, 3 replicas each.
    (total,) = (line for line in shown.splitlines() if line.startswith("all"))
    assert total.split()[1] == "21"
    assert not (tmp_path / "results").exists()
