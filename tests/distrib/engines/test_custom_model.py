"""A user's own model in every arm, trained by the local engine."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

from distrib.engines.local import train
from recsys.data.stream import Batches, Stream
from recsys.seeds import Source, component_path, global_draws
from tests.support import custom_model as own_model
from tests.support.arms import ARMS
from tests.support.logs import TRUTH, bag_of, own_recipe, small_log, small_recipe, trials


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return small_log(tmp_path_factory.mktemp("own"), replace(TRUTH, rows=400))


@pytest.mark.parametrize("arm", ARMS.values(), ids=ARMS.keys())
@pytest.mark.parametrize("factory", ["torchrec_dlrm", "uneven", "moody", "forgetful"])
def test_a_replica_trained_in_company_is_bitwise_the_replica_trained_alone(
    log, arm, factory
) -> None:
    # 320 training and 40 test examples: whole batches, as in the test of the built-in models.
    recipe = own_recipe(factory, arm=arm)
    of_two = trials(log, recipe, 2)

    fused = train(log, of_two)
    (alone,) = train(log, of_two[1:])

    assert np.array_equal(fused[1].logit, alone.logit)
    assert not np.array_equal(fused[0].logit, alone.logit)


@pytest.mark.parametrize("factory", ["torchrec_dlrm", "uneven", "moody"])
def test_training_equals_training_the_users_module_by_itself(log, factory) -> None:
    rate = 0.05
    optimizer = {
        "sparse": "sgd",
        "dense": "sgd",
        "sparse_learning_rate": rate,
        "dense_learning_rate": rate,
    }
    recipe = own_recipe(factory, optimizer=optimizer)
    trial = trials(log, recipe, 1)[0]

    (found,) = train(log, [trial])

    expected = _by_itself(log, trial, factory, rate)
    np.testing.assert_allclose(found.logit, expected, atol=1e-4)


def _by_itself(log, trial, factory, rate) -> np.ndarray:
    with global_draws(*component_path(trial.seeds, "model", 0), "own"):
        make = getattr(own_model, factory)
        module = make(log.schema, activation="relu") if factory == "uneven" else make(log.schema)
    optimizer = torch.optim.SGD(module.parameters(), rate)
    for batch in Stream(log, "train", trial.recipe.stream, [trial.seeds]).batches():
        logits = module.dense(batch.dense[0], module.embeddings(_unnamed(log, batch.sparse)))
        loss = binary_cross_entropy_with_logits(logits.view(-1), batch.labels[0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    module.eval()
    (batch,) = Batches(log, 1).same_rows(np.asarray(log.splits["test"]), 1000)
    with torch.no_grad():
        embedded = module.embeddings(_unnamed(log, batch.sparse))
        return module.dense(batch.dense[0], embedded).view(-1).numpy()


def _unnamed(log, sparse: KeyedJaggedTensor) -> KeyedJaggedTensor:
    """Return the features of one replica under the names that they have in the schema."""
    names = [feature.name for feature in log.schema.sparse]
    return KeyedJaggedTensor(keys=names, values=sparse.values(), lengths=sparse.lengths())


def test_a_repeated_run_of_a_model_with_dropout_is_bitwise_equal(log) -> None:
    recipe = own_recipe("forgetful", arm={"kind": "ensemble", "components": 2})

    (first,) = train(log, trials(log, recipe, 1))
    torch.rand(3)  # what others draw must not matter
    (again,) = train(log, trials(log, recipe, 1))

    assert np.array_equal(first.logit, again.logit)


def test_nothing_is_dropped_when_a_model_is_evaluated(log) -> None:
    recipe = own_recipe("forgetful", evaluation={"points": 1})

    (result,) = train(log, trials(log, recipe, 1))

    final = dict(zip(result.example, result.logit, strict=True))
    at_the_end = result.progress_predictions
    expected = [final[row] for row in at_the_end["example"]]
    np.testing.assert_allclose(at_the_end["logit"], expected, atol=1e-6)


def test_components_start_from_seeds_of_their_own(log) -> None:
    still = {"sparse_learning_rate": 0.0, "dense_learning_rate": 0.0}
    single = own_recipe("small", optimizer=still)
    pair = own_recipe("small", optimizer=still, arm={"kind": "ensemble", "components": 2})
    codistilled = own_recipe("small", optimizer=still, arm={"kind": "codistilled"})

    (one,) = train(log, trials(log, single, 1))
    (two,) = train(log, trials(log, pair, 1))
    (first_of_two,) = train(log, trials(log, codistilled, 1))
    other_init = train(log, trials(log, single, 2, vary=(Source.INIT,)))[1]

    assert np.array_equal(first_of_two.logit, one.logit)
    assert not np.array_equal(two.logit, one.logit)
    assert not np.array_equal(other_init.logit, one.logit)


def test_the_activation_of_the_arm_takes_the_place_of_relu(log) -> None:
    relu = own_recipe("small")
    smooth = own_recipe("small", arm={"kind": "single", "activation": "smelu(beta=1.0)"})

    (one,) = train(log, trials(log, relu, 1))
    (other,) = train(log, trials(log, smooth, 1))

    assert not np.allclose(one.logit, other.logit)


def test_lookups_and_parameters_are_those_of_the_users_tables(log) -> None:
    recipe = own_recipe("uneven", arm={"kind": "ensemble", "components": 2})

    (result,) = train(log, trials(log, recipe, 1))

    first, second, third = (feature.cardinality for feature in log.schema.single_valued)
    (bag,) = log.schema.multi_valued
    rows = log.splits["test"]
    bag_rows = sum(len(bag_of(log, bag.name, row)) for row in rows) / len(rows)
    assert result.cost.serve_lookups == pytest.approx(2 * (3 + 2 * bag_rows))
    per_example = 4 + 4 + 12 + (8 + 4) * bag_rows
    assert result.cost.serve_lookup_bytes == pytest.approx(2 * 4 * per_example)
    table_elements = 4 * max(first, second) + (8 + 4) * bag.cardinality + 12 * third
    assert result.cost.serve_sparse_parameters == 2 * table_elements
    features = 2 + 12 + 4 + 4 + 8 + 4
    tower = 2 * 2 + features * 6 + 6 + 2 * 6 + 6 + 1
    assert result.cost.serve_dense_parameters == 2 * tower


def test_an_equal_cost_ensemble_of_a_users_model_reads_as_many_bytes_as_the_single_one(log) -> None:
    model = {"embedding_dim": 8}
    equal = {"kind": "ensemble", "components": 2, "width": "equal_lookups_bytes"}

    (one,) = train(log, trials(log, own_recipe("small", model=model), 1))
    (two,) = train(log, trials(log, own_recipe("small", model=model, arm=equal), 1))

    assert two.cost.serve_lookup_bytes == pytest.approx(one.cost.serve_lookup_bytes)
    assert two.cost.serve_lookups == pytest.approx(2 * one.cost.serve_lookups)


def test_a_users_model_is_counted_as_a_built_in_model_of_the_same_shape(log) -> None:
    built_in = small_recipe(model={"hidden": [6], "layer_norm": False, "embedding_dim": 4})

    (own,) = train(log, trials(log, own_recipe("small"), 1))
    (expected,) = train(log, trials(log, built_in, 1))

    for name in ("train_lookups", "train_unique_rows", "serve_sparse_parameters", "parameters"):
        assert getattr(own.cost, name) == pytest.approx(getattr(expected.cost, name)), name
    # TorchRec's last layer is a product with one column, which FLOPs do not count in ours.
    assert own.cost.serve_dense_flops == expected.cost.serve_dense_flops + 2 * 6


def test_a_model_that_cannot_be_vectorised_says_so_in_one_line(log, caplog) -> None:
    with caplog.at_level(logging.WARNING, logger="recsys"):
        train(log, trials(log, own_recipe("picky"), 2))

    (line,) = (one.getMessage() for one in caplog.records if one.name.startswith("recsys"))
    assert "custom_model:picky: its towers run one after another: torch.func.vmap fails" in line
    assert "\n" not in line
