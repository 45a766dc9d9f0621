"""The findings: which experiments they run, what these share, what is said before and written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from analysis.results.reading import read_sweep
from distrib.trials.results import DONE
from jobs import findings
from jobs.experiment.loading import load_experiment, parse_experiment
from jobs.experiment.planning import manifest, plan, write_manifest
from jobs.experiments import shipped_experiments
from jobs.findings import train_missing, write_document
from tests.support.experiments import small_experiment
from tests.support.logs import small_log
from tests.support.studies import write_shipped

STUDIES = [name for name in shipped_experiments() if load_experiment(name).study is not None]
MOST_BYTES_OF_A_FIGURE = 150_000


def test_the_conditions_of_the_paper_are_studies():
    assert {
        *("asynchrony", "beta", "distillation", "ensemble_size", "epochs", "how_many_models"),
        *("initialization", "normalization", "shuffle_width"),
    } <= set(STUDIES)


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_trains_eight_replicas_of_each_arm_unless_it_studies_their_number(name):
    experiment = load_experiment(name)
    counts = [arm.replication.replicas for arm in experiment.arms.values()]
    assert (max if experiment.study.x == "replicas" else min)(counts) >= 8


@pytest.mark.parametrize("name", STUDIES)
def test_the_studies_differ_from_the_demo_in_their_condition_alone(name):
    demo = load_experiment("movielens").arms["relu"].recipe
    first = load_experiment(name).arms[load_experiment(name).baseline].recipe
    condition = {"engine": demo.engine} if name == "asynchrony" else {}
    assert first.model_copy(update=condition) == demo


def test_arms_of_the_asynchrony_study_have_the_same_warm_up():
    engines = [arm.recipe.engine for arm in load_experiment("asynchrony").arms.values()]
    assert {engine.warm_up * engine.window for engine in engines} == {32}


@pytest.mark.parametrize("name", sorted(shipped_experiments()))
def test_every_shipped_experiment_is_planned_for_a_click_log(name, tmp_path):
    experiment = load_experiment(name)
    planned = plan(experiment, small_log(tmp_path))
    expected = sum(arm.replication.replicas for arm in experiment.arms.values())
    assert sum(len(arm.trials) for arm in planned if arm.source is None) == expected


def test_experiments_share_the_trials_that_they_have_in_common(tmp_path):
    log = small_log(tmp_path)
    trials = {}
    for name in ("beta", "epochs", "how_many_models"):
        experiment = load_experiment(name)
        contents = manifest(experiment, plan(experiment, log), root=Path(".."))
        write_manifest(tmp_path / name, contents)
        entries = json.loads((tmp_path / name / "sweep.json").read_text())["arms"]
        trials[name] = {entry["name"]: entry["trials"] for entry in entries}
    assert trials["beta"]["relu"] == trials["epochs"]["relu_1"]
    assert trials["beta"]["smelu_1"] == trials["how_many_models"]["smelu_8"]
    assert all(place.startswith("../trials/") for place in trials["beta"]["relu"])


def test_what_is_to_train_is_said_before_and_what_is_finished_is_not_trained_again(
    tmp_path, monkeypatch, capsys
):
    small_log(tmp_path)
    document = small_experiment(tmp_path / "log", study={"question": "Q?"})
    experiments = {
        "one": parse_experiment(document),
        "two": parse_experiment(document | {"replicas": 3}),
    }
    asked = []

    def train(_log, directory, groups, **_):
        trials = [trial.digest for group in groups for trial in group.trials]
        asked.append((trials, capsys.readouterr().out))
        for digest in trials[:1]:
            (directory / "trials" / digest).mkdir(parents=True)
            (directory / "trials" / digest / DONE).touch()
        return []

    monkeypatch.setattr(findings, "train_groups", train)
    train_missing(tmp_path / "results", experiments)
    first, said = asked[0]
    assert len(set(first)) == len(first) == 6
    assert said.startswith("2 experiments: 6 trials to train, ")

    train_missing(tmp_path / "results", experiments)
    assert sorted(asked[1][0]) == sorted(first[1:])


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("findings")
    sweeps = {name: read_sweep(write_shipped(directory / name, name)) for name in STUDIES}
    path = directory / "docs/findings.md"
    write_document(sweeps, path)
    return path


def test_the_document_has_question_figure_table_and_command_of_each_study(written):
    text = written.read_text(encoding="utf-8")
    assert "nan" not in text.replace("NaN", "nan").lower()
    assert text.count("\n## ") == text.count("| --- |") == len(STUDIES)
    for name in STUDIES:
        assert f"## {load_experiment(name).study.question}" in text
        assert f"Made by `soloist sweep {name} --output results/{name}`." in text
        assert f"](findings/{name}.svg)" in text
        size = (written.with_suffix("") / f"{name}.svg").stat().st_size
        assert 0 < size < MOST_BYTES_OF_A_FIGURE
