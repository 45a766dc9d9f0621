"""Windows in a row: one's own change is carried over on the device, whatever runs beside what."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from distrib.parameter_store.layout import Route, apply_own_delta, parameters_of, shared_rows
from distrib.parameter_store.shard import Parameters, Shard, fresh
from distrib.training.device_transfer import Transfer
from distrib.training.step import arm_of_phase
from distrib.training.windows import Carried, Windows, WindowTrainer
from distrib.trials.trial import Trial
from recsys.config import Recipe
from recsys.data.stream import Stream
from recsys.embeddings import fused_collection
from tests.support.devices import RunsAhead, needs_gpu
from tests.support.logs import small_log, small_recipe, trials

CPU = torch.device("cpu")
WINDOWS = 6


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return small_log(tmp_path_factory.mktemp("windows"))


def recipe(sparse: str = "rowwise_adagrad", delta_scale: float = 0.5) -> Recipe:
    return small_recipe(
        optimizer={"sparse": sparse, "dense": "adagrad"},
        engine={"name": "async", "delta_scale": delta_scale, "window": 3},
    )


class Chain:
    """One worker and one shard, which never has the change of the window before a pull."""

    def __init__(self, log, trial: Trial, transfer: Transfer) -> None:
        (phase,) = trial.recipe.arm.phases
        stream = Stream(log, "train", trial.recipe.stream, [trial.seeds])
        self.trainer = WindowTrainer(
            trial.recipe,
            log.schema,
            [trial.seeds],
            phase,
            batch_count=stream.batch_count,
            transfer=transfer,
            delta_scale=trial.recipe.engine.delta_scale,
        )
        self.prepared = [
            self.trainer.prepare(
                window, list(stream.batches(window.first_batch, window.last_batch))
            )
            for window in list(Windows(stream.batch_count, 3))[:WINDOWS]
        ]
        self.routes = [Route.of(each.rows[0], 1) for each in self.prepared]

        def make_embeddings(tables):
            return fused_collection(tables, trial.recipe.optimizer, CPU)

        arm = arm_of_phase(trial.recipe, log, [trial], phase.groups, make_embeddings, None)
        self.shard = Shard(fresh(parameters_of(arm, self.trainer.layout, 0)))

    def pull(self, window: int) -> Parameters:
        return self.shard.pull(self.routes[window].rows[0]).parameters


def carried_on_the_host(chain: Chain) -> list[Parameters]:
    """Train window after window, each on the start and the change of the one before."""
    changes: list[Parameters] = []
    for window in range(WINDOWS):
        pulled = chain.pull(window)
        if changes:
            apply_own_delta(pulled, chain.routes[window], changes[-1], chain.routes[window - 1])
        changes += chain.trainer.train(chain.prepared[window], [pulled]).parameters
    return changes


def carried_on_the_device(chain: Chain) -> list[Parameters]:
    """Set each window to work before the change of the one before comes back."""
    changes: list[Parameters] = []
    before = None
    for window in range(WINDOWS):
        staged = chain.trainer.stage(chain.prepared[window], [chain.pull(window)])
        carried = None
        if before is not None:
            shared = shared_rows(chain.routes[window], chain.routes[window - 1])
            carried = Carried(training=before, shared=shared)
        training = chain.trainer.start(staged, carried)
        if before is not None:
            changes += before.change().parameters
        before = training
    changes += before.change().parameters
    return changes


def arrays(changes: Sequence[Parameters]) -> list[np.ndarray]:
    return [array for each in changes for array in (*each.slabs, each.dense)]


def trained(log, recipe: Recipe, transfer: Transfer, train: Callable[[Chain], list[Parameters]]):
    (trial,) = trials(log, recipe, 1)
    return arrays(train(Chain(log, trial, transfer)))


@pytest.mark.parametrize("sparse", ["rowwise_adagrad", "adagrad", "sgd"])
@pytest.mark.parametrize("transfer", [Transfer(CPU), RunsAhead(3)], ids=["cpu", "runs ahead"])
def test_a_change_carried_on_the_device_is_to_the_bit_the_one_carried_on_the_host(
    log, sparse, transfer
) -> None:
    expected = trained(log, recipe(sparse), Transfer(CPU), carried_on_the_host)

    found = trained(log, recipe(sparse), transfer, carried_on_the_device)

    assert any(each.any() for each in found)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_on_the_cpu_a_window_is_trained_once_it_is_asked_for(log) -> None:
    (trial,) = trials(log, recipe(), 1)
    chain = Chain(log, trial, Transfer(CPU))
    batches: list[int] = []
    staged = chain.trainer.stage(chain.prepared[0], [chain.pull(0)])

    training = chain.trainer.start(staged, on_batch=batches.append)

    assert batches == []
    assert not training.is_running
    assert training.is_finite()
    assert len(batches) == 3


def test_a_device_that_runs_ahead_is_at_it_until_it_tells(log) -> None:
    (trial,) = trials(log, recipe(), 1)
    chain = Chain(log, trial, RunsAhead(2))

    training = chain.trainer.start(chain.trainer.stage(chain.prepared[0], [chain.pull(0)]))

    assert [training.is_running for _ in range(3)] == [True, True, False]


def test_a_change_that_is_not_finite_is_told(log) -> None:
    (trial,) = trials(log, recipe(), 1)
    chain = Chain(log, trial, Transfer(CPU))
    pulled = chain.pull(0)
    pulled.slabs[0][0, 0] = np.nan

    training = chain.trainer.start(chain.trainer.stage(chain.prepared[0], [pulled]))

    assert not training.is_finite()
    assert not training.change().is_finite


@needs_gpu
@pytest.mark.parametrize("sparse", ["rowwise_adagrad", "adagrad", "sgd"])
def test_a_gpu_trains_what_the_cpu_trains(log, sparse) -> None:
    expected = trained(log, recipe(sparse), Transfer(CPU), carried_on_the_host)

    found = trained(log, recipe(sparse), Transfer(torch.device("cuda")), carried_on_the_device)

    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-3)


@needs_gpu
def test_copies_beside_what_is_computed_change_nothing(log) -> None:
    one_after_another = Transfer(torch.device("cuda"), beside=False)
    expected = trained(log, recipe(), one_after_another, carried_on_the_device)

    found = trained(log, recipe(), Transfer(torch.device("cuda")), carried_on_the_device)

    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)
