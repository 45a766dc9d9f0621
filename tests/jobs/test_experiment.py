"""Experiments as a person writes them."""

from __future__ import annotations

import pytest

from jobs.experiments import shipped_experiments
from jobs.loading import load_experiment, parse_experiment
from recsys.errors import ConfigError
from recsys.seeds import Source
from tests.support.experiments import (
    GOOD,
    malformed_experiments,
    small_experiment,
    write_experiment,
)

KINDS = {"single", "ensemble", "self_ensemble", "anti_distilled", "distilled", "codistilled"}


def test_an_arm_has_the_defaults_but_for_what_it_changes():
    document = small_experiment("log")
    document["arms"]["smelu"]["model"] = {"hidden": [8]}

    arms = parse_experiment(document).arms

    assert arms["relu"].recipe.model.hidden == (6, 4)
    assert arms["smelu"].recipe.model.hidden == (8,)
    assert arms["smelu"].recipe.model.embedding_dim == 4


def test_an_arm_may_have_replicas_and_sources_of_its_own():
    document = small_experiment("log", vary=["init"])
    document["arms"]["smelu"] |= {"replicas": 5, "vary": ["shuffle", "init"]}

    arms = parse_experiment(document).arms

    assert arms["relu"].replication.replicas == 2
    assert arms["relu"].replication.vary == (Source.INIT,)
    assert arms["smelu"].replication.replicas == 5
    assert arms["smelu"].replication.vary == (Source.SHUFFLE, Source.INIT)


def test_a_model_of_another_name_keeps_the_options_that_both_have():
    document = small_experiment("log")
    document["arms"]["smelu"]["model"] = {"name": "dlrm", "bottom": [8]}

    model = parse_experiment(document).arms["smelu"].recipe.model

    assert (model.name, model.bottom, model.hidden) == ("dlrm", (8,), (6, 4))


def test_a_model_of_the_users_own_takes_no_option_of_the_built_in_ones():
    document = small_experiment("log")
    document["arms"]["smelu"]["model"] = {"name": "mine:make"}

    model = parse_experiment(document).arms["smelu"].recipe.model

    assert (model.name, model.embedding_dim) == ("mine:make", None)


@pytest.mark.parametrize(
    ("word", "changed"),
    [
        ("replicas=7", lambda e: e.replicas == 7),
        ("stream.batch_size=64", lambda e: e.arms["smelu"].recipe.stream.batch_size == 64),
        ("defaults.stream.batch_size=64", lambda e: e.arms["smelu"].recipe.stream.batch_size == 64),
        ("model.hidden=[3, 2]", lambda e: e.arms["relu"].recipe.model.hidden == (3, 2)),
        ("optimizer.eps=1e-6", lambda e: e.arms["relu"].recipe.optimizer.eps == 1e-6),
        ("stream.shuffle=full", lambda e: e.arms["relu"].recipe.stream.shuffle == "full"),
        ("arms.smelu.activation=gelu", lambda e: e.arms["smelu"].recipe.arm.activation == "gelu"),
        ("arms.smelu.stream.epochs=3", lambda e: e.arms["smelu"].recipe.stream.epochs == 3),
        ("arms.new={kind: ensemble}", lambda e: e.arms["new"].recipe.arm.components == 3),
    ],
)
def test_a_word_of_the_command_line_overrides_a_field(tmp_path, word, changed):
    path = write_experiment(tmp_path / "small.yaml", small_experiment("log"))

    assert not _holds(changed, load_experiment(str(path)))
    assert changed(load_experiment(str(path), [word]))


def _holds(changed, experiment) -> bool:
    try:
        return changed(experiment)
    except KeyError:
        return False


def test_the_last_of_two_overrides_of_one_field_counts(tmp_path):
    path = write_experiment(tmp_path / "small.yaml", small_experiment("log"))

    assert load_experiment(str(path), ["replicas=3", "replicas=4"]).replicas == 4


@pytest.mark.parametrize("name", sorted(shipped_experiments()))
def test_a_shipped_experiment_is_found_by_its_name(name):
    assert load_experiment(name).name == name


def test_the_demo_trains_every_kind_of_arm_at_least_six_times():
    arms = load_experiment("movielens").arms.values()

    assert {arm.recipe.arm.kind for arm in arms} == KINDS
    assert min(arm.replication.replicas for arm in arms) >= 6
    assert load_experiment("movielens").sources == (Source.ARITHMETIC,)


def test_an_unknown_experiment_is_refused_with_the_nearest_one():
    with pytest.raises(ConfigError, match="did you mean 'movielens'"):
        load_experiment("movilens")


def test_a_file_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match=r"absent.yaml: No such file"):
        load_experiment("absent.yaml")


def test_the_command_that_prepares_the_data_can_be_pasted_into_a_shell():
    document = small_experiment("log")
    document["data"]["options"] = {"source": ["a b.csv", "c.csv"], "valid": 0.2}

    command = parse_experiment(document).data.prepare_command()

    assert command == (
        "soloist prepare synthetic --source 'a b.csv' --source c.csv --valid 0.2 --output log"
    )


def test_what_the_malformed_experiments_are_made_from_is_good(tmp_path):
    (tmp_path / "good.yaml").write_bytes(GOOD)

    assert load_experiment(str(tmp_path / "good.yaml")).name == "small"


def test_there_are_malformed_experiments_of_all_sorts():
    names = [case.name for case in malformed_experiments()]

    assert len(names) == len(set(names))
    assert len(names) >= 100
