"""What a training asks of Ray."""

from __future__ import annotations

import pytest

from distrib.resources import training_requirements
from recsys.errors import ConfigError
from tests.support.logs import small_recipe

pytestmark = pytest.mark.usefixtures("ray_cluster")


def test_a_group_asks_for_its_threads():
    recipe = small_recipe(engine={"threads": 2})

    assert training_requirements(recipe) == {"num_cpus": 2, "num_gpus": 0}


@pytest.mark.parametrize(
    ("engine", "says"),
    [
        ({"threads": 64}, "engine.threads: found 64, expected at most 2"),
        ({"device": "cuda"}, "engine.device: found cuda, but Ray has no GPU"),
    ],
)
def test_what_this_ray_can_never_give_is_refused_before_anything_runs(engine, says):
    with pytest.raises(ConfigError, match=says):
        training_requirements(small_recipe(engine=engine))
