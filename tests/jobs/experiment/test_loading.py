"""Experiments as a person writes them."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from datetime import date
from typing import get_args

import pytest
import yaml

from jobs.experiment.documents import Faults
from jobs.experiment.loading import load_experiment, parse_experiment
from jobs.experiment.schema import Defaults, Settings
from jobs.experiments import shipped_experiments
from jobs.reference import EXAMPLE
from recsys.engines import ENGINE_KINDS
from recsys.errors import ConfigError
from recsys.models.config import MODEL_KINDS
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


@pytest.mark.parametrize(
    ("changes", "faults"),
    [
        (
            ["replicas=0", "defaults.model.hiden=[1]", "arms.smelu.kind=singel", "stream.epochs=x"],
            [
                "replicas: found 0, expected a number greater than 0",
                "defaults.model.hiden: unknown, did you mean 'hidden'?",
                "defaults.stream.epochs: found 'x', expected a valid integer",
                "arms.smelu.kind 'singel': unknown, did you mean 'single'?",
            ],
        ),
        (
            [
                "defaults.model.hidden=x",
                "arms.smelu.kind=ensemble",
                "arms={1: {}}",
                "arms.x.kind=1",
            ],
            [
                "arms.x: unknown, expected one of 1",
                "defaults.model.hidden: found 'x', expected a list",
                "arms: found the name 1, expected letters, digits, '_' and '-'",
                "baseline relu: unknown, expected one of 1",
            ],
        ),
        (
            ["data.reader=x", "data.directory=3", "baseline=rellu"],
            [
                "data.reader: unknown reader 'x', expected one of movielens, criteo, frappe, "
                "avazu, tabular, synthetic",
                "data.directory: found 3, expected a path",
                "baseline rellu: unknown, did you mean 'relu'?",
            ],
        ),
        (
            ["replicas", "strem.epochs=2", "arms.rleu.kind=single", "fuse=[", "stall_s=0"],
            [
                "'replicas': expected FIELD=VALUE, such as replicas=8",
                "strem.epochs: unknown, did you mean 'stream'?",
                "arms.rleu: unknown, did you mean 'relu'?",
                "fuse: while parsing a flow node, expected the node content, but found "
                "'<stream end>'; '[' is not a YAML value",
                "stall_s: found 0, expected a number greater than 0",
            ],
        ),
        (
            ["engine={name: async, lease_s: 0, delays: {}, resources: {num_cpus: -1, gpus: 1}}"],
            [
                "defaults.engine.resources.num_cpus: found -1, expected a number greater than or "
                "equal to 0",
                "defaults.engine.resources.gpus: unknown, did you mean 'num_gpus'?",
                "defaults.engine.lease_s: found 0, expected a number greater than 0",
                "defaults.engine.delays: unknown, did you mean 'delta_scale'?",
            ],
        ),
    ],
)
def test_all_faults_are_reported_at_once_a_line_each(tmp_path, changes, faults):
    path = write_experiment(tmp_path / "small.yaml", small_experiment("log"))

    with pytest.raises(ConfigError) as refused:
        load_experiment(str(path), changes)

    first, *lines = str(refused.value).split("\n")
    assert first == f"{path}: {len(faults)} faults:"
    assert lines == [f"  {fault}" for fault in faults]


def test_a_fault_of_the_defaults_is_not_taken_for_one_of_the_arms(tmp_path):
    path = write_experiment(tmp_path / "small.yaml", small_experiment("log"))
    ensemble = "arms.smelu={kind: ensemble, width: equal_lookups_bytes}"

    with pytest.raises(ConfigError) as refused:
        load_experiment(str(path), ["model.hidden=x", ensemble])

    assert str(refused.value) == f"{path}: defaults.model.hidden: found 'x', expected a list"


def test_a_fault_of_several_arms_is_one_line(tmp_path):
    path = write_experiment(tmp_path / "small.yaml", small_experiment("log"))

    with pytest.raises(ConfigError) as refused:
        load_experiment(str(path), ["engine.name=async", "optimizer.dense=adam"])

    assert str(refused.value).startswith(
        f"{path}: arms.relu, arms.smelu: optimizer.dense: found adam"
    )


def test_of_very_many_faults_the_first_are_shown(tmp_path):
    document = small_experiment("log") | {f"field_{number}": 1 for number in range(3000)}
    path = write_experiment(tmp_path / "small.yaml", document)

    with pytest.raises(ConfigError) as refused:
        load_experiment(str(path))

    lines = str(refused.value).split("\n")
    assert lines[0] == f"{path}: 3000 faults:"
    assert lines[-1] == "  and 2980 more"
    assert len(lines) == 22


def number_fields() -> Iterator[tuple[str, str]]:
    """Yield every field that holds numbers, with the override that selects its engine or model."""
    sections = {"defaults.engine": ENGINE_KINDS, "defaults.model": MODEL_KINDS}
    for section, default in Defaults():
        kinds = sections.get(f"defaults.{section}", {"": type(default)})
        for name, kind in kinds.items():
            for field, info in kind.model_fields.items():
                if {int, float} & set(leaves(info.annotation)):
                    yield f"{section}.name={name}" if name else "seed=1", f"{section}.{field}"
    for field, info in Settings.model_fields.items():
        if {int, float} & set(leaves(info.annotation)):
            yield "seed=1", field


def leaves(annotation: object) -> Iterator[object]:
    """Yield the types that an annotation is made of."""
    yield annotation
    for argument in get_args(annotation):
        yield from leaves(argument)


@pytest.mark.parametrize(("kind", "field"), sorted(set(number_fields())))
def test_a_number_that_no_training_could_have_is_refused_in_every_field(tmp_path, kind, field):
    path = write_experiment(tmp_path / "small.yaml", small_experiment("log"))

    for value in (".nan", ".inf", "-.inf", "1e400", "1" + "0" * 30, "0x" + "f" * 5000, "yes"):
        for written in (value, f"[{value}]", f"[1, {value}]"):
            with pytest.raises(ConfigError) as refused:
                load_experiment(str(path), [kind, f"{field}={written}"])

            assert "\n" not in str(refused.value)
            assert field in str(refused.value)


def test_a_device_without_end_is_not_read_for_ever():
    with pytest.raises(ConfigError, match="/dev/zero: found more than"):
        load_experiment("/dev/zero")


def test_a_name_too_long_for_a_file_is_refused_as_unknown():
    with pytest.raises(ConfigError, match=r"experiment x+ \.\.\. x+: unknown"):
        load_experiment("x" * 5000)


def test_a_number_in_scientific_notation_needs_no_point(tmp_path):
    path = write_experiment(tmp_path / "small.yaml", small_experiment("log"))

    eps = load_experiment(str(path), ["optimizer.eps=1e-7"]).arms["relu"].recipe.optimizer.eps

    assert eps == 1e-7


def places(document: object, path: tuple[object, ...] = ()) -> Iterator[tuple[object, ...]]:
    """Yield the path of every value inside a document."""
    if path:
        yield path
    items = {list: enumerate, dict: dict.items}.get(type(document), lambda _: ())
    for key, value in items(document):
        yield from places(value, (*path, key))


def with_value(document: object, path: tuple[object, ...], value: object) -> object:
    """Return a document with another value at a path."""
    if not path:
        return value
    changed = copy.copy(document)
    changed[path[0]] = with_value(document[path[0]], path[1:], value)
    return changed


@pytest.mark.parametrize(
    "value",
    [None, True, -1, math.nan, 10**30, "", "x" * 3000, "\x1b[31m", "a\nb", b"ab", [], [[]], [None],
     {}, {1: 2}, {None: [1]}, {"name": ["x"]}, {"kind": {}}, date(2020, 1, 1)],
    ids=lambda value: repr(value)[:20],
)  # fmt: skip
def test_any_value_anywhere_is_taken_or_refused_in_short_lines(value):
    example = yaml.safe_load(EXAMPLE)

    for path in places(example):
        faults = Faults()
        faults.check(parse_experiment, with_value(example, path, value))
        assert [line for line in faults.lines if len(line) > 400 or not line.isprintable()] == []
