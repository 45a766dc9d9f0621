"""An arm in shared memory: trained through another mapping it is the local engine's, to the bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from distrib.engines.local import fit
from distrib.parameter_store.shard import digest
from recsys.config import Recipe
from recsys.embeddings import fused_collection
from recsys.module import Arm
from tests.support.arms import ARMS
from tests.support.counting import counted, counting_fields
from tests.support.logs import own_recipe, small_log, small_recipe, trials
from tests.support.shared_memory import WINDOW, Node, killed_before, killed_within

CPU = torch.device("cpu")
OPTIMIZERS = [("rowwise_adagrad", "adagrad"), ("adagrad", "sgd"), ("sgd", "adagrad")]


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return small_log(tmp_path_factory.mktemp("shared"))


def weights(arm: Arm) -> dict[str, torch.Tensor]:
    tables = {t.name: arm.embeddings.embedding_bags[t.name].weight for t in arm.tables}
    return tables | dict(arm.dense.named_parameters())


def trained_locally(log, trial) -> Arm:
    def make_embeddings(tables):
        return fused_collection(tables, trial.recipe.optimizer, CPU)

    return fit(log, [trial], CPU, make_embeddings, lambda _: None).arm


def assert_equal(found: Arm, expected: Arm) -> None:
    expected_weights = weights(expected)
    for name, weight in weights(found).items():
        assert torch.equal(weight, expected_weights[name]), name


def all_phases(log, trial) -> Node:
    node = Node(log, trial)
    node.work()
    for phase in range(1, len(trial.recipe.arm.phases)):
        node = Node(log, trial, phase, node.arm)
        node.work()
    return node


@pytest.mark.parametrize("arm", ARMS.values(), ids=ARMS.keys())
def test_every_arm_is_trained_as_the_local_engine_trains_it(log, arm) -> None:
    (trial,) = trials(log, small_recipe(arm=arm), 1)

    node = all_phases(log, trial)

    assert_equal(node.arm, trained_locally(log, trial))


@pytest.mark.parametrize(("sparse", "dense"), OPTIMIZERS)
def test_every_optimizer_is_the_local_engines(log, sparse, dense) -> None:
    recipe = small_recipe(optimizer={"sparse": sparse, "dense": dense})
    (trial,) = trials(log, recipe, 1)

    node = all_phases(log, trial)

    assert_equal(node.arm, trained_locally(log, trial))


def test_a_users_own_model_is_trained_as_the_local_engine_trains_it(log) -> None:
    (trial,) = trials(log, own_recipe("small"), 1)

    node = all_phases(log, trial)

    assert_equal(node.arm, trained_locally(log, trial))


def test_workers_that_die_between_updates_leave_no_trace(log) -> None:
    (trial,) = trials(log, small_recipe(), 1)
    node = Node(log, trial)

    for batches in (0, 1, WINDOW, WINDOW + 1):
        node.work(trainer=killed_before(batches))
    node.work()

    assert_equal(node.arm, trained_locally(log, trial))
    assert sum(report.torn_batches for report in node.reports) == 0
    assert sorted(report.lease.window for report in node.reports) == list(range(len(node.windows)))
    assert sum(report.examples for report in node.reports) == len(log.splits["train"])


def test_what_is_reported_of_a_window_holds_for_all_who_trained_it(log) -> None:
    (trial,) = trials(log, small_recipe(), 1)
    undisturbed, disturbed = Node(log, trial), Node(log, trial)

    undisturbed.work()
    disturbed.work(trainer=killed_before(1))
    disturbed.work()

    for one, other in zip(undisturbed.reports, disturbed.reports, strict=True):
        assert one.progressive_loss == other.progressive_loss
        assert (one.lookups, one.examples) == (other.lookups, other.examples)
        assert len(other.staleness) == other.batches


def test_a_batch_that_was_torn_is_told_and_not_trained_again(log) -> None:
    (trial,) = trials(log, Recipe.model_validate(counting_fields(32, 1)), 1)
    node = Node(log, trial)

    node.work(trainer=killed_within(4))
    node.work()

    assert [report.torn_batches for report in node.reports] == [0, 1, *[0] * 11]
    expected = counted(log, 1)
    # The tables had the torn batch's update, the towers not: neither has it twice.
    tables = node.arm.table_set(0, node.phase.groups[0], 0)
    assert {n: digest(rows.detach().numpy()) for n, rows in tables.items()} == {
        name: value for name, value in expected.items() if name != "dense"
    }
    (dense,) = node.arm.dense.parameters()
    assert digest(dense.detach().numpy().reshape(-1)) != expected["dense"]


def test_every_example_counts_once_however_often_workers_die(log) -> None:
    (trial,) = trials(log, Recipe.model_validate(counting_fields(32, 1)), 1)
    node = Node(log, trial)

    for batches in np.random.default_rng(0).integers(0, 5, 12):
        node.work(trainer=killed_before(int(batches)))
    node.work()

    tables = node.arm.table_set(0, node.phase.groups[0], 0)
    (dense,) = node.arm.dense.parameters()
    found = {name: digest(rows.detach().numpy()) for name, rows in tables.items()}
    found["dense"] = digest(dense.detach().numpy().reshape(-1))
    assert found == counted(log, 1)


@pytest.mark.parametrize(("sparse", "dense"), OPTIMIZERS)
def test_parameters_copied_out_and_in_again_go_on_to_the_bit(log, sparse, dense) -> None:
    recipe = small_recipe(optimizer={"sparse": sparse, "dense": dense})
    (trial,) = trials(log, recipe, 1)
    first, second = Node(log, trial), Node(log, trial)
    first.work(trainer=killed_before(4 * WINDOW))

    second.memory.load(second.arm, first.memory.parameters(first.arm))
    second.memory.journal.start_after(range(4))
    second.ledger.applied = {0, 1, 2, 3}
    second.work()

    assert_equal(second.arm, trained_locally(log, trial))


def test_a_step_that_is_not_finite_is_not_applied(log) -> None:
    (trial,) = trials(log, small_recipe(), 1)
    node = Node(log, trial)
    with torch.no_grad():
        next(node.arm.dense.parameters()).fill_(float("inf"))
    before = {name: weight.clone() for name, weight in weights(node.arm).items()}

    node.work()

    # Window 1 is leased ahead, so it is tried between the two times of window 0.
    assert [line[: len("window 0")] for line in node.refused] == [
        "window 0",
        "window 1",
        "window 0",
    ]
    assert "found NaN or infinity" in node.refused[0]
    assert not node.reports
    for name, weight in weights(node.arm).items():
        torch.testing.assert_close(weight, before[name], rtol=0, atol=0, equal_nan=True)
