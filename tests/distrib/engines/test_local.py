"""The local engine: repeatable, fused as alone, and equal to plain PyTorch."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from distrib.engines.local import train
from distrib.errors import TrialFailed
from recsys import metrics
from recsys.config import OptimizerConfig
from recsys.data.stream import Stream
from recsys.embeddings import fused_collection
from recsys.errors import ConfigError
from recsys.module import Arm
from recsys.seeds import Seeds, Source
from tests.support.arms import ARMS
from tests.support.devices import needs_gpu
from tests.support.logs import bag_of, small_log, small_recipe, trials


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return small_log(tmp_path_factory.mktemp("local"))


@pytest.mark.parametrize("arm", ARMS.values(), ids=ARMS.keys())
@pytest.mark.parametrize("model", ["mlp", "dlrm", "dcnv2", "deepfm"])
def test_a_replica_trained_in_company_is_bitwise_the_replica_trained_alone(log, arm, model) -> None:
    # 1,216 examples are 38 whole batches of 32: PyTorch computes exp in another way at the end of
    # a tensor whose size is no multiple of 32, so a short last batch may round differently.
    recipe = small_recipe(arm=arm, model={"name": model, "hidden": [16, 16]})
    of_three = trials(log, recipe, 3)

    fused = train(log, of_three)
    (alone,) = train(log, of_three[1:2])

    assert np.array_equal(fused[1].logit, alone.logit)
    assert not np.array_equal(fused[0].logit, alone.logit)


def test_a_repeated_run_is_bitwise_equal(log) -> None:
    recipe = small_recipe(arm={"kind": "distilled", "components": 2}, stream={"epochs": 2})

    first = train(log, trials(log, recipe, 2))
    again = train(log, trials(log, recipe, 2))

    assert [np.array_equal(a.logit, b.logit) for a, b in zip(first, again, strict=True)] == [
        True,
        True,
    ]


@pytest.mark.parametrize("source", [Source.SHUFFLE, Source.INIT, Source.ARITHMETIC])
def test_replicas_that_vary_in_one_source_part(log, source) -> None:
    first, second = train(log, trials(log, small_recipe(), 2, vary=(source,)))

    assert not np.array_equal(first.logit, second.logit)


def test_replicas_in_which_nothing_varies_are_equal(log) -> None:
    first, second = train(log, trials(log, small_recipe(), 2, vary=()))

    assert np.array_equal(first.logit, second.logit)


@pytest.mark.parametrize("sparse", ["rowwise_adagrad", "adagrad", "sgd"])
def test_training_equals_plain_pytorch(log, sparse) -> None:
    recipe = small_recipe(optimizer={"sparse": sparse}, stream={"epochs": 1})
    seeds = trials(log, recipe, 1)[0].seeds

    (found,) = train(log, trials(log, recipe, 1))

    expected = _plain_pytorch(log, recipe, seeds)
    np.testing.assert_allclose(found.logit, expected, atol=1e-4)


def _plain_pytorch(log, recipe, seeds: Seeds) -> np.ndarray:
    """One MLP with dense gradients, a loop over bags, and optimisers written out."""
    start = Arm(
        recipe.arm,
        recipe.model,
        log.schema,
        [seeds],
        lambda tables: fused_collection(tables, OptimizerConfig(), torch.device("cpu")),
    )
    tables = {
        f.name: start.table(0, "model", 0, f.name).detach().clone().requires_grad_()
        for f in log.schema.sparse
    }
    towers = [parameter.detach()[0].clone() for parameter in start.dense.parameters()]
    towers = [parameter.requires_grad_() for parameter in towers]
    states = {name: torch.zeros_like(table) for name, table in tables.items()}
    dense = torch.optim.Adagrad(
        towers, recipe.optimizer.dense_learning_rate, eps=recipe.optimizer.eps
    )

    def forward(rows) -> torch.Tensor:
        columns = []
        single = 0
        for feature in log.schema.sparse:
            table = tables[feature.name]
            if feature.multi_valued:
                bags = [bag_of(log, feature.name, row).astype(np.int64) for row in rows]
                pieces = [table[torch.from_numpy(bag)] for bag in bags]
                columns.append(torch.stack([piece.mean(0) for piece in pieces]))
            else:
                columns.append(table[torch.from_numpy(log.ids[rows, single]).long()])
                single += 1
        x = torch.cat([*columns, torch.from_numpy(log.dense[rows])], 1)
        w = iter(towers)
        for width in recipe.model.hidden:
            weight, bias, gain, shift = (next(w) for _ in range(4))
            x = torch.nn.functional.layer_norm(x @ weight + bias, (width,))
            x = torch.relu(x * gain + shift)
        weight, bias = next(w), next(w)
        return (x @ weight + bias)[:, 0]

    stream = Stream(log, "train", recipe.stream, [seeds])
    size = recipe.stream.batch_size
    for first in range(0, stream.examples, size):
        rows = stream.rows(0, first, min(first + size, stream.examples))
        loss = binary_cross_entropy_with_logits(forward(rows), torch.from_numpy(log.label[rows]))
        dense.zero_grad()
        loss.backward()
        dense.step()
        for name, table in tables.items():
            _step(table, states[name], recipe.optimizer)
    with torch.no_grad():
        return forward(np.asarray(log.splits["test"])).numpy()


@torch.no_grad()
def _step(table: torch.Tensor, state: torch.Tensor, optimizer: OptimizerConfig) -> None:
    gradient, table.grad = table.grad, None
    rate = optimizer.sparse_learning_rate
    if optimizer.sparse == "sgd":
        table -= rate * gradient
        return
    squares = gradient.square()
    if optimizer.sparse == "rowwise_adagrad":
        squares = squares.mean(1, keepdim=True).expand_as(squares)
    state += squares
    table -= rate * gradient / (state.sqrt() + optimizer.eps)


def test_progressive_validation_sees_each_batch_before_it_is_trained_on(log) -> None:
    recipe = small_recipe(
        optimizer={"sparse_learning_rate": 0.0, "dense_learning_rate": 0.0},
        evaluation={"points": 1},
    )

    (result,) = train(log, trials(log, recipe, 1))

    # Nothing moves, so the loss over the stream is that of the untrained model.
    (untrained,) = train(log, trials(log, recipe, 1))
    assert result.progress["examples"].tolist() == [len(log.splits["train"])]
    np.testing.assert_allclose(
        result.progress["eval_log_loss"],
        metrics.log_loss(
            log.label[result.progress_predictions["example"]],
            1 / (1 + np.exp(-result.progress_predictions["logit"].to_numpy(np.float64))),
        ),
    )
    assert np.array_equal(result.logit, untrained.logit)


def test_evaluation_points_are_spread_over_the_stream_and_end_with_it(log) -> None:
    recipe = small_recipe(evaluation={"points": 3}, stream={"epochs": 2})

    (result,) = train(log, trials(log, recipe, 1))

    examples = result.progress["examples"].tolist()
    assert len(examples) == 3
    assert examples[-1] == 2 * len(log.splits["train"])
    assert examples[0] == pytest.approx(examples[-1] / 3, abs=32)
    last = result.progress_predictions[result.progress_predictions["examples"] == examples[-1]]
    final = dict(zip(result.example, result.logit, strict=True))
    np.testing.assert_allclose(last["logit"], [final[row] for row in last["example"]], atol=1e-6)


def test_progress_tells_every_example_of_every_phase(log) -> None:
    recipe = small_recipe(arm={"kind": "distilled", "components": 2, "teacher": "offline"})
    told: list[int] = []

    train(log, trials(log, recipe, 2), on_progress=told.append)

    assert sum(told) == 2 * 2 * len(log.splits["train"])


def test_an_offline_teacher_costs_its_lookups_in_both_passes(log) -> None:
    single = train(log, trials(log, small_recipe(), 1))[0].cost
    offline = small_recipe(arm={"kind": "distilled", "components": 2, "teacher": "offline"})

    cost = train(log, trials(log, offline, 1))[0].cost

    assert cost.train_lookups == pytest.approx(5 * single.train_lookups)
    assert cost.serve_lookups == pytest.approx(single.serve_lookups)


def test_a_replica_that_diverges_is_refused_by_name(log) -> None:
    wild = small_recipe(optimizer={"sparse_learning_rate": 1e38, "dense_learning_rate": 1e38})

    with pytest.raises(TrialFailed, match="replica 0, 1 of the 2 in this process diverged"):
        train(log, trials(log, wild, 2))


def test_an_example_trained_on_in_two_phases_counts_once_in_the_speed(log, monkeypatch) -> None:
    # Every look at the clock takes a second, and each phase is looked at twice an interval.
    seconds = itertools.count()
    clock = SimpleNamespace(perf_counter=lambda: float(next(seconds)))
    monkeypatch.setattr("distrib.engines.local.time", clock)
    online = {"kind": "distilled", "components": 2}
    recipes = [
        small_recipe(arm={**online, "teacher": teacher}, evaluation={"points": 1})
        for teacher in ("online", "offline")
    ]

    speeds = [train(log, trials(log, r, 1))[0].cost.train_examples_per_second for r in recipes]

    assert speeds[1] < speeds[0]


def test_trials_that_differ_in_more_than_seeds_are_not_fused(log) -> None:
    with pytest.raises(ConfigError, match="differ in their seeds alone"):
        train(log, trials(log, small_recipe(), 1) + trials(log, small_recipe(arm=ARMS["smelu"]), 1))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused_rather_than_replaced(log) -> None:
    with pytest.raises(ConfigError, match="found cuda, but no GPU"):
        train(log, trials(log, small_recipe(engine={"device": "cuda"}), 1))


def test_adam_on_tables_is_refused_on_a_cpu(log) -> None:
    with pytest.raises(ConfigError, match="adam on a CPU"):
        train(log, trials(log, small_recipe(optimizer={"sparse": "adam"}), 1))


@needs_gpu
@pytest.mark.parametrize("arm", ARMS.values(), ids=ARMS.keys())
def test_a_gpu_trains_what_the_cpu_trains(log, arm) -> None:
    on_cpu = train(log, trials(log, small_recipe(arm=arm), 2))
    on_gpu = train(log, trials(log, small_recipe(arm=arm, engine={"device": "cuda"}), 2))

    for cpu, gpu in zip(on_cpu, on_gpu, strict=True):
        np.testing.assert_allclose(cpu.logit, gpu.logit, atol=1e-3)
