"""The findings: which experiments they read, what they share, and what they say of known noise."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from analysis.errors import ResultsError
from analysis.findings import asynchrony
from analysis.findings.document import FINDERS, write_document
from analysis.findings.finding import measured
from analysis.results import read_sweep
from jobs.loading import load_experiment, shipped_experiments
from jobs.planning import manifest, plan, write_manifest
from tests.support.findings import (
    against_the_paper,
    as_the_paper_has_it,
    write_experiment_sweep,
    write_findings,
)
from tests.support.logs import small_log

MOST_BYTES_OF_A_FIGURE = 150_000
DECISIVE = ("beta", "shuffle_width", "normalization", "epochs", "distillation", "asynchrony")


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("findings")
    sweeps = write_findings(directory / "results", as_the_paper_has_it)
    path = directory / "docs/findings.md"
    write_document({name: read_sweep(place) for name, place in sweeps.items()}, path)
    return path


@pytest.mark.parametrize("name", FINDERS)
def test_every_experiment_of_the_findings_trains_eight_replicas_of_each_arm(name):
    arms = load_experiment(name).arms.values()
    assert min(arm.replication.replicas for arm in arms) >= 8


@pytest.mark.parametrize("name", FINDERS)
def test_the_experiments_of_the_findings_differ_from_the_demo_in_their_condition_alone(name):
    demo = load_experiment("movielens").arms["relu"].recipe
    first = load_experiment(name).arms[load_experiment(name).baseline].recipe
    condition = {"engine": demo.engine} if name == "asynchrony" else {}
    assert first.model_copy(update=condition) == demo


def test_arms_of_the_asynchrony_study_are_trained_as_their_names_say():
    for name, arm in load_experiment("asynchrony").arms.items():
        setting, engine = asynchrony.setting_of(name), arm.recipe.engine
        assert arm.recipe.arm.activation.startswith(setting.activation)
        assert (engine.workers, engine.window) == (setting.workers, setting.window)
        assert engine.delta_scale == setting.scale
        assert (engine.name == "async") == setting.is_real
        assert engine.warm_up * engine.window == 32


def test_an_arm_that_is_not_of_the_asynchrony_study_is_refused():
    with pytest.raises(ResultsError, match="arm relu: expected a name such as"):
        asynchrony.setting_of("relu")


@pytest.mark.parametrize("name", sorted(shipped_experiments()))
def test_every_shipped_experiment_is_planned_for_a_click_log(name, tmp_path):
    experiment = load_experiment(name)
    planned = plan(experiment, small_log(tmp_path))
    expected = sum(arm.replication.replicas for arm in experiment.arms.values())
    assert sum(len(arm.trials) for arm in planned if arm.source is None) == expected


def test_experiments_share_the_trials_that_they_have_in_common(tmp_path):
    log = small_log(tmp_path)
    trials = {}
    for name in ("beta", "epochs"):
        experiment = load_experiment(name)
        contents = manifest(experiment, plan(experiment, log), root=Path(".."))
        write_manifest(tmp_path / name, contents)
        entries = json.loads((tmp_path / name / "sweep.json").read_text())["arms"]
        trials[name] = {entry["name"]: entry["trials"] for entry in entries}
    assert trials["beta"]["relu"] == trials["epochs"]["relu_1"]
    assert all(place.startswith("../trials/") for place in trials["beta"]["relu"])


def test_the_document_has_a_section_a_table_and_a_small_figure_for_each_experiment(written):
    text = written.read_text(encoding="utf-8")
    assert text.count("\n## ") == len(FINDERS) + 1
    assert text.count("| --- |") == len(FINDERS)
    assert "nan" not in text
    for name in FINDERS:
        assert f"](findings/{name}.png)" in text
        size = (written.with_suffix("") / f"{name}.png").stat().st_size
        assert 0 < size < MOST_BYTES_OF_A_FIGURE


def test_replicas_that_are_the_same_model_are_told_to_be(written):
    assert "At width 0 with only the shuffle varied, PD is exactly 0 for both" in (
        written.read_text(encoding="utf-8")
    )


@pytest.mark.parametrize("name", DECISIVE)
def test_what_speaks_for_the_paper_and_what_speaks_against_it_are_told_apart(name, tmp_path):
    def verdict(noise) -> str:
        sweep = read_sweep(write_experiment_sweep(tmp_path / noise.__name__, name, noise))
        return FINDERS[name](measured(sweep)).verdict

    assert verdict(as_the_paper_has_it).startswith("**For the paper**")
    assert verdict(against_the_paper).startswith("**Against the paper**")


def test_findings_of_a_sweep_that_misses_trials_are_refused(tmp_path):
    place = write_experiment_sweep(tmp_path / "epochs", "epochs", as_the_paper_has_it)
    (place / "trials/relu_81/DONE").unlink()
    with pytest.raises(ResultsError, match="relu_8 misses 1 of 3 trials, expected all"):
        measured(read_sweep(place))
