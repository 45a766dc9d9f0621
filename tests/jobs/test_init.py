"""``soloist init``."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml

from jobs.experiment.loading import load_experiment, parse_experiment
from jobs.experiment.planning import open_click_log, plan
from jobs.init import experiment_text, init
from recsys.data.click_log import ClickLog
from recsys.data.schema import Schema
from recsys.errors import ConfigError, DataError
from tests.support.logs import small_log


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> ClickLog:
    return small_log(tmp_path_factory.mktemp("init"))


def test_what_it_writes_is_planned_as_it_is(log, tmp_path, capsys):
    path = tmp_path / "clicks.yaml"

    init(log.directory, path)

    experiment = load_experiment(str(path))
    planned = plan(experiment, open_click_log(experiment.data))
    assert {arm.name: arm.recipe.arm.activation for arm in planned} == {
        "relu": "relu",
        "smelu_half": "smelu(beta=0.5)",
        "smelu_1": "smelu(beta=1)",
        "smelu_2": "smelu(beta=2)",
        "relu_ensemble": "relu",
    }
    assert experiment.arms["relu_ensemble"].recipe.arm.components == 3
    assert capsys.readouterr().out == f"{path}; run it with: soloist sweep {path}\n"


def test_without_an_output_it_prints(log, capsys):
    init(log.directory)

    assert capsys.readouterr().out == experiment_text(log)


def test_it_names_the_features_the_group_and_the_item(log):
    schema = Schema(sparse=(*log.schema.sparse, replace(log.schema.sparse[0], name="item_id")))
    text = experiment_text(replace(log, schema=replace(schema, group="user\nseed: [")))

    assert yaml.safe_load(text)["data"]["item"] == "item_id"
    assert 'are grouped by "user\\nseed: ["' in text
    assert all(feature.name in text for feature in schema.sparse)


@pytest.mark.parametrize(
    ("rows", "batch", "shuffle"),
    [(80_000, 128, 2000), (45_000_000, 4096, 100_000), (100, 32, 2), (1, 32, 1)],
)
def test_batch_size_and_shuffle_follow_the_number_of_training_examples(log, rows, batch, shuffle):
    splits = {"train": range(rows), "valid": range(0), "test": range(rows, rows + 9)}

    stream = yaml.safe_load(experiment_text(replace(log, splits=splits)))["defaults"]["stream"]

    assert (stream["batch_size"], stream["shuffle"]) == (batch, shuffle)


def test_large_tables_are_not_fused(log):
    large = tuple(replace(feature, cardinality=10_000_000) for feature in log.schema.sparse)

    text = experiment_text(replace(log, schema=replace(log.schema, sparse=large)))

    assert yaml.safe_load(text)["fuse"] == 1


def test_a_log_without_a_test_split_is_evaluated_on_valid(log):
    splits = {"train": range(100), "valid": range(100, 200), "test": range(200, 200)}

    text = experiment_text(replace(log, splits=splits))

    assert yaml.safe_load(text)["defaults"]["evaluation"] == {"split": "valid"}


def test_a_log_without_rows_to_evaluate_on_is_refused(log):
    splits = {"train": range(100), "valid": range(0), "test": range(0)}

    with pytest.raises(ConfigError, match="found no test and no valid rows"):
        experiment_text(replace(log, splits=splits))


@pytest.mark.parametrize("name", ["a: b", "#x", "yes", "it's", "ж", "...", '"', "12"])
def test_any_directory_can_be_named(log, tmp_path, name):
    directory = tmp_path / name

    experiment = parse_experiment(
        yaml.safe_load(experiment_text(replace(log, directory=directory)))
    )

    assert experiment.data.directory == directory


def test_an_existing_file_is_kept(log, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("precious")

    with pytest.raises(ConfigError, match="exists already, expected a new file"):
        init(log.directory, path)

    assert path.read_text() == "precious"


def test_what_is_no_click_log_is_refused(tmp_path):
    with pytest.raises(DataError):
        init(tmp_path, tmp_path / "new.yaml")

    assert list(tmp_path.iterdir()) == []
