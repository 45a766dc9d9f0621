"""Experiments whose arms are made of users' models."""

from __future__ import annotations

import pytest

from jobs.experiment.loading import parse_experiment
from jobs.experiment.planning import plan
from recsys.errors import ConfigError
from tests.support.experiments import small_experiment
from tests.support.logs import small_log

SMALL = {"name": "tests.support.custom_model:small", "options": {"hidden": 3}}


def _experiment(model: dict[str, object]):
    document = small_experiment("log")
    document["defaults"]["model"] = SMALL
    document["arms"]["smelu"]["model"] = model
    return parse_experiment(document)


def test_an_arm_may_change_a_field_of_the_users_model() -> None:
    model = _experiment({"embedding_dim": 8}).arms["smelu"].recipe.model

    assert (model.name, model.embedding_dim, model.options) == (SMALL["name"], 8, {"hidden": 3})


def test_another_function_gets_none_of_the_options_of_the_first() -> None:
    model = _experiment({"name": "tests.support.custom_model:moody"}).arms["smelu"].recipe.model

    assert model.options == {}


def test_a_users_model_that_does_not_fit_the_data_is_refused_before_anything_starts(
    tmp_path,
) -> None:
    experiment = _experiment({"name": "tests.support.wrong_models:misspells_feature"})

    with pytest.raises(ConfigError, match="the data has no sparse feature 'c0x', did you mean"):
        plan(experiment, small_log(tmp_path))
