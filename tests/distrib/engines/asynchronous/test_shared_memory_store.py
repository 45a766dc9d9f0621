"""Room in shared memory for all phases is looked for before the first."""

from __future__ import annotations

import pytest

from distrib.engines.asynchronous.shared_memory_worker import MEASUREMENTS
from distrib.engines.asynchronous.stores import SharedMemoryStore
from distrib.parameter_store import shared_segment
from distrib.parameter_store.shared_memory import plan_of
from distrib.training.step import shape_of_phase
from distrib.training.windows import Windows
from recsys.errors import ConfigError
from tests.support.logs import small_log, small_recipe, trials

OFFLINE = {"kind": "distilled", "components": 2, "teacher": "offline"}
WINDOWS = Windows(10, 1)


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return small_log(tmp_path_factory.mktemp("memory"))


@pytest.fixture(scope="module")
def trial(log):
    engine = {"name": "async", "store": "shared_memory"}
    (trial,) = trials(log, small_recipe(arm=OFFLINE, engine=engine), 1)
    return trial


def sizes(log, trial) -> list[int]:
    found = []
    for phase in trial.recipe.arm.phases:
        shape = shape_of_phase(trial.recipe, log.schema, [trial.seeds], phase.groups)
        plan = plan_of(
            shape,
            trial.recipe.optimizer,
            WINDOWS,
            workers=trial.recipe.engine.workers,
            measurements=MEASUREMENTS,
        )
        found.append(plan.size_bytes)
    return found


@pytest.mark.parametrize("where", ["available_bytes", "_free_bytes"])
def test_room_for_each_phase_but_not_for_two_is_refused_before_the_first(
    log, trial, monkeypatch, where
) -> None:
    first, second = sizes(log, trial)
    monkeypatch.setattr(shared_segment, where, lambda *_: first + second - 1)

    with pytest.raises(ConfigError, match="shared_memory needs"):
        SharedMemoryStore(log, trial, trial.recipe.engine, WINDOWS, "run")


@pytest.mark.parametrize("where", ["available_bytes", "_free_bytes"])
def test_room_for_two_phases_is_enough(log, trial, monkeypatch, where) -> None:
    monkeypatch.setattr(shared_segment, where, lambda *_: sum(sizes(log, trial)))

    SharedMemoryStore(log, trial, trial.recipe.engine, WINDOWS, "run")
