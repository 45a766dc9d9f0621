"""The async engine in shared memory on Ray: the local engine's bits, and nothing counted twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from distrib.engines.asynchronous import driver
from distrib.engines.asynchronous import phase_runner as generation
from distrib.engines.asynchronous import worker_pool as crew
from distrib.engines.registry import train
from distrib.parameter_store import shared_segment
from distrib.parameter_store.shard import digest
from distrib.scheduling.processes import end
from recsys.config import Recipe
from recsys.errors import ConfigError
from tests.support.counting import counted, counting_fields, counts
from tests.support.crashing import in_background, server_alive
from tests.support.crashing_in_shared_memory import (
    descendants,
    kill_outside_updates,
    memory_of,
    slow_worker,
    who_has,
    worker_that_dies_within_update,
    worker_that_hangs,
    workers_that_meet,
)
from tests.support.dispatchers import dispatcher_that_misses, open_gate
from tests.support.logs import small_log, small_recipe, trials
from tests.support.patience import PATIENCE_S, wait_until
from tests.support.signed import lives, living, signed_by

pytestmark = [pytest.mark.usefixtures("ray_cluster"), pytest.mark.timeout(600)]
OFFLINE = {"kind": "distilled", "components": 2, "teacher": "offline"}


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return small_log(tmp_path_factory.mktemp("shared"))


@pytest.fixture
def trained(monkeypatch) -> dict[str, np.ndarray]:
    """Return what gets a training's tables by their names within the set, and ``dense``."""
    found: dict[str, np.ndarray] = {}
    results = driver.results

    def and_keep(log, trials, arm, *args, **settings):
        for name, rows in arm.table_set(0, arm.groups[0].name, 0).items():
            found[name] = rows.detach().numpy().copy()
        weights = [weight.detach().numpy().reshape(-1) for weight in arm.dense.parameters()]
        found["dense"] = np.concatenate(weights)
        return results(log, trials, arm, *args, **settings)

    monkeypatch.setattr(driver, "results", and_keep)
    return found


def shared_memory(workers: int, **fields: object) -> dict[str, object]:
    # Nobody is missed for being slow.
    settings = {"name": "async", "store": "shared_memory", "window": 3, "lease_s": 600}
    return settings | {"workers": workers} | fields


def counting(epochs: int, **fields: object) -> Recipe:
    engine = shared_memory(2) | fields
    return Recipe.model_validate(counting_fields(32, epochs, **engine))


def digests(tensors: dict[str, np.ndarray]) -> dict[str, str]:
    return {name: digest(tensor) for name, tensor in tensors.items()}


def test_one_worker_trains_to_the_bit_what_the_local_engine_trains(log) -> None:
    told: list[int] = []
    recipe = small_recipe(arm=OFFLINE, engine=shared_memory(1))

    (found,) = train(log, trials(log, recipe, 1), on_progress=told.append)

    (local,) = train(log, trials(log, small_recipe(arm=OFFLINE), 1))
    np.testing.assert_array_equal(found.logit, local.logit)
    assert found.cost.train_lookups == local.cost.train_lookups
    assert found.provenance["torn_batches"] == 0
    staleness = found.staleness.as_dict()["updates"]
    assert (staleness["pushes"], staleness["max"]) == (2 * 38, 0)
    assert sum(told) == 2 * len(log.splits["train"])
    assert found.progress["examples"].iloc[-1] == len(log.splits["train"])


def test_every_example_counts_once_though_workers_and_dispatcher_are_killed(
    log, tmp_path, monkeypatch, gate, trained
) -> None:
    (pids := tmp_path / "pids").mkdir()
    monkeypatch.setattr(driver, "SharedMemoryWorker", slow_worker(0.01, pids))
    monkeypatch.setattr(crew, "_PATIENCE_S", 600)  # who is slow to notice is in no update cut off
    rng = np.random.default_rng(1)
    # One after another: of two updates at the same instant, one may be lost without any death.
    (trial,) = trials(log, counting(4, max_staleness=0), 1)
    told: list[int] = []

    thread, outcome = in_background(lambda: train(log, [trial], on_progress=told.append))
    for number, victim in enumerate(("worker", "worker", "dispatcher", "worker"), start=1):
        open_gate(gate, 900 * number // 96 + 10)  # enough to be busy with, never all there is
        wait_until(lambda number=number: sum(told) > 900 * number or not thread.is_alive())
        assert thread.is_alive()
        if victim == "worker":
            kill_outside_updates(rng.choice(living(pids)), pids)
        else:
            os.kill(server_alive(victim), signal.SIGKILL)
    open_gate(gate, 51)
    thread.join()

    ((result,),) = outcome
    assert result.provenance["torn_batches"] == 0
    assert digests(trained) == counted(log, 4)
    assert sum(told) == 4 * len(log.splits["train"])
    staleness = result.staleness.as_dict()["updates"]
    assert (staleness["pushes"], staleness["max"]) == (4 * 38, 0)


def test_a_batch_whose_worker_is_killed_within_its_update_is_told(
    log, tmp_path, monkeypatch, trained, caplog
) -> None:
    dying = worker_that_dies_within_update(10, tmp_path / "died")
    monkeypatch.setattr(driver, "SharedMemoryWorker", dying)
    (trial,) = trials(log, counting(1, max_staleness=0), 1)

    (result,) = train(log, [trial])

    assert (tmp_path / "died").exists()
    assert result.provenance["torn_batches"] == 1
    assert "killed during the update of 1 batches" in caplog.text
    found, expected = digests(trained), counted(log, 1)
    assert {name for name in expected if found[name] != expected[name]} == {"dense"}


def test_a_worker_that_falls_silent_is_ended_before_another_has_its_window(
    log, tmp_path, monkeypatch, trained
) -> None:
    stopped = tmp_path / "stopped"
    monkeypatch.setattr(driver, "SharedMemoryWorker", worker_that_hangs(10, stopped))
    monkeypatch.setattr(generation, "Dispatcher", dispatcher_that_misses(3, stopped))
    (trial,) = trials(log, counting(1, workers=1), 1)

    (result,) = train(log, [trial])

    assert not lives(signed_by(stopped))  # as long as it did, nobody had its window
    assert result.provenance["torn_batches"] == 0
    assert digests(trained) == counted(log, 1)


def test_two_workers_at_once_train_every_batch_and_see_each_others_updates(
    log, tmp_path, monkeypatch, trained
) -> None:
    monkeypatch.setattr(driver, "SharedMemoryWorker", workers_that_meet(tmp_path))
    (trial,) = trials(log, counting(8, start_with=2), 1)

    (result,) = train(log, [trial])

    told = result.staleness.as_dict()
    assert told["updates"]["pushes"] == 8 * 38
    assert told["updates"]["max"] > 0
    assert told["examples"]["mean"] == pytest.approx(32 * told["updates"]["mean"])
    expected = counts(log, 8)
    assert trained.keys() == expected.keys()
    for name, tensor in trained.items():  # two updates of a row at the same instant may be one
        assert np.abs(tensor - expected[name]).sum() < 0.1 * np.abs(expected[name]).sum(), name


class Stopped(Exception):
    """What a test stops a training with."""


def stop_after(log, trial, *, epochs: float) -> None:
    """Train a trial until so many epochs are told, then interrupt it."""
    told: list[int] = []

    def stop(examples: int) -> None:
        told.append(examples)
        if sum(told) > epochs * len(log.splits["train"]):
            raise Stopped

    with pytest.raises(Stopped):
        train(log, [trial], on_progress=stop)


def test_training_that_goes_on_from_a_snapshot_is_to_the_bit_training_never_stopped(
    log, tmp_path
) -> None:
    engine = shared_memory(1, snapshots=str(tmp_path), snapshot_every=4)
    recipe = small_recipe(engine=engine, stream={"epochs": 4})
    (trial,) = trials(log, recipe, 1)
    stop_after(log, trial, epochs=2)
    snapshots = [path.name for path in tmp_path.glob("*/*-*")]

    (resumed,) = train(log, [trial])

    (local,) = train(log, trials(log, small_recipe(stream={"epochs": 4}), 1))
    assert snapshots
    np.testing.assert_array_equal(resumed.logit, local.logit)
    assert resumed.progress["examples"].iloc[-1] == 4 * len(log.splits["train"])
    assert resumed.staleness.as_dict()["updates"]["pushes"] == -(-4 * 1216 // 32)


def test_a_model_larger_than_memory_is_refused_before_any_worker_starts(log, monkeypatch) -> None:
    monkeypatch.setattr(shared_segment, "available_bytes", lambda: 1000)
    (trial,) = trials(log, small_recipe(engine=shared_memory(1)), 1)

    with pytest.raises(ConfigError, match=r"shared_memory needs .* found 1e-06 GB of memory"):
        train(log, [trial])


@pytest.mark.parametrize(
    "field",
    [
        {"record": True},
        {"shards": 2},
        {"delta_scale": 0.5},
        {"max_staleness": 3},
        {"device": "cuda"},
    ],
    ids=lambda field: next(iter(field)),
)
def test_what_cannot_be_done_in_place_is_refused(field) -> None:
    ((name, found),) = field.items()

    with pytest.raises(ValueError, match=f"{name}: found {found}, expected .* with store: shared"):
        small_recipe(engine=shared_memory(2) | field)


def test_tables_in_shared_memory_are_the_hosts(log) -> None:
    assert small_recipe(engine=shared_memory(2, device="auto")).engine.device == "cpu"


_TRAINING = """
import sys
from pathlib import Path
from distrib.engines.asynchronous import driver
from distrib.engines.registry import train
from recsys.config import Recipe
from recsys.data.click_log import ClickLog
from tests.support.crashing_in_shared_memory import slow_worker
from tests.support.logs import trials

place = Path(sys.argv[1])
log = ClickLog.open(place / "log")
recipe = Recipe.model_validate_json((place / "recipe.json").read_text())
driver.SharedMemoryWorker = slow_worker(0.02, place / "pids")
train(log, trials(log, recipe, 1), on_progress=lambda _: (place / "began").touch())
"""


def test_nothing_is_left_when_the_driver_is_killed(tmp_path) -> None:
    small_log(tmp_path)
    (tmp_path / "pids").mkdir()
    recipe = small_recipe(engine=shared_memory(2), stream={"epochs": 1000})
    (tmp_path / "recipe.json").write_text(recipe.model_dump_json())
    without_ray = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}

    with subprocess.Popen([sys.executable, "-c", _TRAINING, tmp_path], env=without_ray) as process:
        try:
            wait_until(lambda: (tmp_path / "began").exists() or process.poll() is not None)
            memory, family = memory_of(process.pid), descendants(process.pid)
            workers = {worker.pid for worker in living(tmp_path / "pids")}
            holders = who_has(memory)
        finally:
            process.kill()

    assert workers
    assert {process.pid, *workers} <= set(holders)
    wait_until(lambda: not who_has(memory))
    # Ray's own processes take their time to notice; none is to outlive the test.
    for each in family:
        end(each, PATIENCE_S)
