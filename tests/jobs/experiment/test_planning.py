"""From an experiment to its trials."""

from __future__ import annotations

import json

import pytest

from distrib.trials.grouping import Group, missing_groups
from jobs.experiment.loading import parse_experiment
from jobs.experiment.planning import (
    activation_columns,
    manifest,
    open_click_log,
    plan,
    write_manifest,
)
from jobs.prepare import prepare
from recsys.errors import ConfigError
from recsys.seeds import Seeds
from tests.support.experiments import small_experiment
from tests.support.logs import small_log


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return small_log(tmp_path_factory.mktemp("planning"))


def digests(document, log) -> dict[str, list[str]]:
    planned = plan(parse_experiment(document), log)
    return {arm.title: [trial.digest for trial in arm.trials] for arm in planned}


def test_replicas_differ_in_what_is_varied_and_in_nothing_else(log):
    document = small_experiment("log", seed=5, replicas=3, vary=["shuffle"])

    relu, _ = plan(parse_experiment(document), log)

    assert [trial.seeds for trial in relu.trials] == [
        Seeds(init=5, shuffle=5 + replica, asynchrony=5, arithmetic=0, components=5)
        for replica in range(3)
    ]


def test_a_source_is_measured_on_the_baseline_with_that_source_alone_varied(log):
    document = small_experiment("log", sources=["arithmetic", "init"])

    *_, arithmetic, init = plan(parse_experiment(document), log)

    assert (arithmetic.name, arithmetic.title) == ("relu", "relu (arithmetic alone)")
    assert [trial.seeds for trial in arithmetic.trials] == [Seeds(), Seeds(arithmetic=1)]
    assert [trial.seeds for trial in init.trials] == [Seeds(), Seeds(init=1)]


def test_a_changed_arm_changes_its_own_trials_alone(log):
    document = small_experiment("log")
    before = digests(document, log)
    document["arms"]["smelu"]["activation"] = "smelu(beta=2)"

    after = digests(document, log)

    assert after["relu"] == before["relu"]
    assert not set(after["smelu"]) & set(before["smelu"])


def test_more_replicas_keep_the_trials_there_were(log):
    few = digests(small_experiment("log", replicas=2), log)

    many = digests(small_experiment("log", replicas=4), log)

    assert many["relu"][:2] == few["relu"]


def test_the_manifest_tells_rows_sources_and_where_trials_lie(log):
    document = small_experiment("log", sources=["arithmetic"])
    experiment = parse_experiment(document)

    told = manifest(experiment, plan(experiment, log))

    relu = digests(document, log)["relu"]
    assert (told["experiment"], told["baseline"], told["varied"]) == ("small", "relu", ["shuffle"])
    assert [arm["name"] for arm in told["arms"]] == ["relu", "smelu"]
    assert told["arms"][0] == {
        "name": "relu",
        "kind": "single",
        "model": "mlp",
        "activation": "relu",
        "beta": None,
        "components": 1,
        "conditions": {
            "stream": {"batch_size": 32, "epochs": 1, "shuffle": 50},
            "engine": {"name": "local"},
        },
        "trials": [f"trials/{digest}" for digest in relu],
    }
    assert told["sources"][0]["source"] == "arithmetic"
    assert told["sources"][0]["trials"][0] == f"trials/{relu[0]}"


def test_the_conditions_of_an_arm_are_its_stream_and_what_makes_updates_stale(log):
    def conditions(**engine: object) -> dict[str, object]:
        document = small_experiment("log", arms={"relu": {"engine": engine}})
        experiment = parse_experiment(document)
        return manifest(experiment, plan(experiment, log))["arms"][0]["conditions"]

    two = conditions(name="async", workers=2)

    assert conditions(name="async", workers=2, threads=4, snapshot_every=9) == two
    assert conditions(name="async", workers=3) != two
    assert conditions(name="async", workers=2, window=3) != two
    assert conditions(name="virtual_async", workers=2) != two


def test_the_manifest_replaces_an_older_one_whole(tmp_path):
    write_manifest(tmp_path / "new", {"experiment": "first"})
    write_manifest(tmp_path / "new", {"experiment": "second"})

    assert [path.name for path in (tmp_path / "new").iterdir()] == ["sweep.json"]
    assert json.loads((tmp_path / "new" / "sweep.json").read_text())["experiment"] == "second"


@pytest.mark.parametrize(
    ("activation", "columns"),
    [
        ("relu", ("relu", None)),
        ("smelu(beta=0.5)", ("smelu", 0.5)),
        ("SmeLU(beta=0.5)", ("smelu", 0.5)),
        ("swish", ("swish", 1.0)),
        ("gsmelu(alpha=2, beta=1)", ("gsmelu(alpha=2, beta=1)", 1.0)),
        ("rescu(knots=(-1, 1), slopes=(0, 1))", ("rescu(knots=(-1, 1), slopes=(0, 1))", None)),
    ],
)
def test_an_activation_is_told_by_family_and_beta_where_that_says_it_all(activation, columns):
    assert activation_columns(activation) == columns


def test_a_missing_click_log_is_answered_with_the_command_that_makes_it(tmp_path):
    document = small_experiment(tmp_path / "absent")
    data = parse_experiment(document).data

    with pytest.raises(ConfigError) as refused:
        open_click_log(data)

    assert f"soloist prepare synthetic --output {tmp_path / 'absent'}" in str(refused.value)


def test_what_is_missing_is_cut_evenly_into_processes(log, tmp_path):
    relu, _ = plan(parse_experiment(small_experiment("log", replicas=9)), log)

    groups = missing_groups(tmp_path, [Group(title="relu", trials=relu.trials)], fuse=8)

    assert [len(group.trials) for group in groups] == [5, 4]
    assert {t.digest for g in groups for t in g.trials} == {t.digest for t in relu.trials}


def test_trials_that_an_engine_trains_in_turn_are_each_alone(log, tmp_path):
    document = small_experiment("log", replicas=3)
    document["defaults"]["engine"] |= {"name": "async"}
    relu, _ = plan(parse_experiment(document), log)

    groups = missing_groups(tmp_path, [Group(title="relu", trials=relu.trials)], fuse=8)

    assert [len(group.trials) for group in groups] == [1, 1, 1]


def test_a_trial_that_two_rows_share_is_trained_once(log, tmp_path):
    relu, _, floor = plan(parse_experiment(small_experiment("log", sources=["arithmetic"])), log)
    rows = [Group(title=arm.title, trials=arm.trials) for arm in (relu, floor)]

    groups = missing_groups(tmp_path, rows, fuse=8)

    assert [len(group.trials) for group in groups] == [2, 1]


@pytest.mark.parametrize("item", ["d0", "<script>", "nothing"])
def test_an_item_that_the_data_lacks_is_refused_when_the_data_is_opened(log, item):
    document = small_experiment(log.directory)
    document["data"]["item"] = item

    with pytest.raises(ConfigError, match=r"data\.item: .* has no single-valued feature"):
        open_click_log(parse_experiment(document).data)


def test_a_click_log_of_dense_features_alone_is_refused(tmp_path):
    source, schema = tmp_path / "t.csv", tmp_path / "s.yaml"
    source.write_text("y,x\n" + "".join(f"{number % 2},{number}\n" for number in range(40)))
    schema.write_text("label: y\ndense: [x]\n")
    prepare("tabular", tmp_path / "log", source=[source], schema=schema)

    with pytest.raises(ConfigError, match="has only dense features, expected at least one"):
        open_click_log(parse_experiment(small_experiment(tmp_path / "log")).data)


def test_too_many_trials_in_all_are_refused_before_any_is_planned(log):
    document = small_experiment("log", replicas=10_000)
    document["arms"] |= {f"arm_{number}": {} for number in range(9)}

    with pytest.raises(ConfigError, match="found 110,000 trials in all, expected at most 100,000"):
        plan(parse_experiment(document), log)


@pytest.mark.parametrize("name", ["", "a\nb", "../elsewhere", "/etc", "\x1b[31m"])
def test_an_experiment_whose_results_could_not_be_read_is_refused(name):
    with pytest.raises(ConfigError, match=r"name: found .*, expected a line of 1 to 200"):
        parse_experiment(small_experiment("log") | {"name": name})


def test_replicas_that_would_all_be_the_same_are_refused(log):
    document = small_experiment("log", replicas=2, vary=[])

    with pytest.raises(ConfigError, match="found 2 replicas with nothing in vary"):
        plan(parse_experiment(document), log)
    assert len(plan(parse_experiment(document | {"replicas": 1}), log)[0].trials) == 1
