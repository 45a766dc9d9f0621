"""The virtual_async engine: the local engine with one worker, and repeatable with many."""

from __future__ import annotations

import numpy as np
import pytest

from distrib.engines.registry import train
from distrib.errors import TrialFailed
from recsys.seeds import Source
from tests.distrib.engines.test_local import ARMS
from tests.support.logs import small_log, small_recipe, trials


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return small_log(tmp_path_factory.mktemp("virtual"))


def asynchronous(workers: int, window: int = 1, **fields: object) -> dict[str, object]:
    return {"name": "virtual_async", "workers": workers, "window": window, **fields}


@pytest.mark.parametrize("arm", ARMS.values(), ids=ARMS.keys())
@pytest.mark.parametrize("window", [1, 3])
def test_one_worker_trains_what_the_local_engine_trains(log, arm, window) -> None:
    one_worker = small_recipe(arm=arm, engine=asynchronous(1, window))

    found = train(log, trials(log, one_worker, 2))

    # A store adds what changed, in float32: after - before may round where training did not.
    for virtual, local in zip(
        found, train(log, trials(log, small_recipe(arm=arm), 2)), strict=True
    ):
        np.testing.assert_allclose(virtual.logit, local.logit, atol=1e-4)
        assert virtual.staleness.as_dict()["updates"]["max"] == 0


def test_a_repeated_run_is_bitwise_equal(log) -> None:
    recipe = small_recipe(engine=asynchronous(7, delays={"kind": "exponential"}))

    first = train(log, trials(log, recipe, 2, vary=(Source.ASYNC,)))
    again = train(log, trials(log, recipe, 2, vary=(Source.ASYNC,)))

    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.logit, other.logit)
        assert one.staleness == other.staleness


@pytest.mark.parametrize("kind", ["constant", "exponential", "stragglers"])
def test_replicas_that_vary_in_asynchrony_part(log, kind) -> None:
    recipe = small_recipe(engine=asynchronous(5, delays={"kind": kind}))

    first, second = train(log, trials(log, recipe, 2, vary=(Source.ASYNC,)))

    assert not np.array_equal(first.logit, second.logit)


def test_a_replica_trained_in_company_is_bitwise_the_replica_trained_alone(log) -> None:
    recipe = small_recipe(engine=asynchronous(5, 2, delays={"kind": "stragglers"}))
    three = trials(log, recipe, 3, vary=(Source.ASYNC, Source.SHUFFLE))

    fused = train(log, three)
    (alone,) = train(log, three[1:2])

    np.testing.assert_array_equal(fused[1].logit, alone.logit)
    assert fused[1].staleness == alone.staleness


@pytest.mark.parametrize("bound", [0, 2])
def test_staleness_stays_within_its_bound(log, bound) -> None:
    recipe = small_recipe(engine=asynchronous(16, max_staleness=bound))

    (result,) = train(log, trials(log, recipe, 1))

    assert result.staleness.as_dict()["updates"]["max"] == bound


def test_staleness_is_counted_for_every_push_in_windows_and_in_examples(log) -> None:
    recipe = small_recipe(engine=asynchronous(4, delays={"kind": "constant"}))

    (result,) = train(log, trials(log, recipe, 1))

    told = result.staleness.as_dict()
    assert told["updates"]["pushes"] == -(-len(log.splits["train"]) // 32)
    assert told["updates"]["mean"] == pytest.approx(3, abs=0.5)
    assert told["examples"]["mean"] == pytest.approx(32 * told["updates"]["mean"], rel=0.05)


def test_a_smaller_delta_scale_moves_weights_less(log) -> None:
    untrained = small_recipe(
        optimizer={"sparse_learning_rate": 0.0, "dense_learning_rate": 0.0},
        engine=asynchronous(4),
    )
    whole = small_recipe(engine=asynchronous(4))
    half = small_recipe(engine=asynchronous(4, delta_scale=0.1))

    start, full, damped = (
        train(log, trials(log, recipe, 1))[0].logit for recipe in (untrained, whole, half)
    )

    assert np.abs(damped - start).mean() < 0.5 * np.abs(full - start).mean()


@pytest.mark.parametrize(("part", "name"), [("sparse", "adam"), ("dense", "adam")])
def test_an_optimiser_whose_state_is_no_sum_is_refused(part, name) -> None:
    with pytest.raises(ValueError, match=f"optimizer.{part}: found {name}, whose state is no sum"):
        small_recipe(optimizer={part: name}, engine=asynchronous(2))


def test_a_loss_that_is_not_finite_fails_the_trial_with_its_window(log) -> None:
    recipe = small_recipe(
        optimizer={"dense": "sgd", "dense_learning_rate": 1e30, "sparse": "sgd"},
        engine=asynchronous(2),
    )

    with pytest.raises(TrialFailed, match=r"window \d+ .*found NaN or infinity"):
        train(log, trials(log, recipe, 1))


def test_the_last_evaluation_point_is_the_trained_model(log) -> None:
    recipe = small_recipe(engine=asynchronous(6, 3))

    (result,) = train(log, trials(log, recipe, 1))

    final = dict(zip(result.example, result.logit, strict=True))
    seen = result.progress_predictions
    last = seen[seen["examples"] == len(log.splits["train"])]
    np.testing.assert_allclose(last["logit"], [final[row] for row in last["example"]], atol=1e-6)
