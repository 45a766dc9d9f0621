"""What a training asks of Ray."""

from __future__ import annotations

import pytest

from distrib.scheduling.resources import (
    needs_of,
    options,
    reservation,
    task_requirements,
    worker_resources,
)
from recsys.errors import ConfigError
from tests.support.logs import small_log, small_recipe, trials

LAPTOP = [{"CPU": 2.0}]
IDLE_CLUSTER = [{}]
"""A head that does no work, and no nodes yet"""

CLUSTER = [{}, {"CPU": 8.0}, {"CPU": 8.0, "GPU": 1.0}]
MANY_WORKERS = {"name": "async", "workers": 3}


def recipe(**engine):
    return small_recipe(engine=engine)


def test_a_training_asks_for_its_threads():
    assert worker_resources(recipe(threads=2), LAPTOP) == {"CPU": 2, "GPU": 0}


def test_a_training_that_may_use_a_gpu_asks_for_one_where_there_is_one():
    auto = recipe(device="auto")

    assert worker_resources(auto, CLUSTER)["GPU"] == 1
    assert worker_resources(auto, LAPTOP)["GPU"] == 0


def test_a_gpu_that_a_cluster_may_yet_start_is_asked_for():
    assert worker_resources(recipe(device="cuda"), IDLE_CLUSTER)["GPU"] == 1


def test_what_the_recipe_says_comes_before_what_would_be_asked_for():
    said = recipe(device="auto", resources={"num_cpus": 4, "num_gpus": 0.5, "custom": {"spot": 1}})

    found = task_requirements(said, CLUSTER)

    assert found == {"num_cpus": 4, "num_gpus": 0.5, "resources": {"spot": 1}}


@pytest.mark.parametrize(
    ("engine", "says"),
    [
        ({"threads": 64}, "engine.threads: found 64 CPU, expected at most 2"),
        ({"device": "cuda"}, "engine.device: found cuda, but Ray has no GPU"),
        ({"resources": {"num_cpus": 3}}, "engine.resources: found 3 CPU, expected at most 2"),
        ({"resources": {"custom": {"spot": 1}}}, "engine.resources: found 1 spot, expected at mo"),
    ],
)
def test_what_one_machine_can_never_give_is_refused_before_anything_runs(engine, says):
    with pytest.raises(ConfigError, match=says):
        worker_resources(recipe(**engine), LAPTOP)


def test_more_workers_than_one_machine_has_room_for_cannot_be_reserved_together():
    three = recipe(**MANY_WORKERS, resources={"placement": "SPREAD"})

    with pytest.raises(ConfigError, match=r"engine\.threads: found 3 CPU, expected at most 2"):
        reservation(three, LAPTOP)


def test_two_trainings_on_one_machine_do_not_each_get_half_of_their_workers():
    reserved = reservation(recipe(name="async", workers=2), LAPTOP)

    assert reserved is not None
    assert reserved.bundles == ({"CPU": 1},) * 2


def test_workers_that_are_to_start_together_must_have_room():
    with pytest.raises(ConfigError, match=r"engine\.threads: found 3 CPU, expected at most 2"):
        reservation(recipe(**MANY_WORKERS, start_with=2), LAPTOP)


def test_where_one_machine_has_too_little_room_workers_ask_for_themselves():
    watched = recipe(**MANY_WORKERS)

    assert reservation(watched, LAPTOP) is None
    assert task_requirements(watched, LAPTOP) == {"num_cpus": 0, "num_gpus": 0}


def test_in_a_cluster_workers_get_their_places_together():
    spread = {"num_cpus": 2, "custom": {"spot": 1}, "placement": "SPREAD"}
    reserved = reservation(recipe(**MANY_WORKERS, resources=spread), IDLE_CLUSTER)
    by_default = reservation(recipe(**MANY_WORKERS), IDLE_CLUSTER)

    assert reserved is not None
    assert reserved.strategy == "SPREAD"
    assert reserved.bundles == ({"CPU": 2, "spot": 1},) * 3
    assert by_default is not None
    assert by_default.strategy == "PACK"


def test_workers_that_share_a_memory_get_places_on_one_node():
    shared = recipe(**MANY_WORKERS, store="shared_memory")

    reserved = reservation(shared, CLUSTER)

    assert reserved is not None
    assert reserved.strategy == "STRICT_PACK"


def test_one_process_needs_no_reservation():
    assert reservation(recipe(), CLUSTER) is None


def test_what_is_asked_for_changes_no_trials_name(tmp_path):
    log = small_log(tmp_path)
    plain = recipe(threads=1)
    asking = recipe(threads=1, resources={"num_cpus": 2, "custom": {"spot": 1}})

    names = [trials(log, each, 1)[0].digest for each in (plain, asking)]
    slower = trials(log, recipe(threads=2), 1)[0].digest

    assert names[0] == names[1]
    assert slower != names[0]


def test_ray_is_asked_for_nothing_custom_where_nothing_is_wanted():
    assert options({"CPU": 1}) == {"num_cpus": 1, "num_gpus": 0}


@pytest.mark.parametrize(
    ("engine", "says"),
    [
        ({"resources": {"custom": {"GPU": 1}}}, "custom: found GPU, which is Ray's own"),
        ({"device": "cuda", "resources": {"num_gpus": 0}}, "resources.num_gpus: found 0"),
    ],
)
def test_resources_that_contradict_themselves_are_refused(engine, says):
    with pytest.raises(ValueError, match=says):
        recipe(**engine)


@pytest.mark.parametrize(
    ("engine", "begins_alone"),
    [
        ({}, True),
        ({"name": "async", "workers": 2}, True),  # its workers' places are reserved before it runs
        (MANY_WORKERS, False),  # one machine has no room for all: each comes when it can
        ({"name": "sync", "workers": 2}, False),
    ],
)
def test_a_training_whose_workers_may_yet_wait_has_not_begun_with_its_process(engine, begins_alone):
    assert needs_of(recipe(**engine), LAPTOP).begins_alone is begins_alone
