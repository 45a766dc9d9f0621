"""Values of snapshots as JSON: what comes back is what was written, and of the asked type alone."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from math import inf, isnan, nan

import numpy as np
import pytest
import torch

from distrib.engines.asynchronous.leases import StalenessHistogram
from distrib.engines.asynchronous.messages import Seconds, TrainingProgress
from distrib.engines.asynchronous.phase_runner import PhaseResult, Progress
from distrib.parameter_store.shard import Served
from distrib.training.evaluator import EvaluationPoint, EvaluatorState
from distrib.trials.json_values import Array, from_json, to_json
from recsys.errors import DataError
from recsys.files import expecting


def through_json(value):
    return from_json(type(value), json.loads(json.dumps(to_json(value))))


def test_what_a_driver_knows_comes_back_to_the_last_bit():
    seen = TrainingProgress(
        windows=2,
        progressive_loss=0.1 + 0.2,
        lookups=(1, 2),
        staleness=StalenessHistogram(updates=Counter({0: 1, 3: 2}), examples=Counter({96: 1})),
        seconds=Seconds(compute=1 / 3),
    )
    point = EvaluationPoint(
        examples=64,
        progressive_log_loss=np.array([0.7, nan]),
        rows=np.arange(3),
        logits=np.array([[0.1, -inf, 2]], np.float32),
    )
    watch = EvaluatorState(
        seen=64, seen_before=0, loss=torch.tensor([1 / 3], dtype=torch.float64), points=(point,)
    )
    served = Served(lease=3, window=1, is_push=True, applied=False, carried=0)
    passed = PhaseResult(seen=seen, train_seconds=nan, orders=((served,), ()))

    found = through_json(Progress(seen=seen, train_seconds=1.5, watch=watch, passed=(passed,)))

    assert found.seen == seen
    assert type(found.seen.staleness.updates) is Counter
    assert found.passed[0].orders == passed.orders
    assert isnan(found.passed[0].train_seconds)
    assert found.watch is not None
    assert found.watch.loss.dtype == torch.float64
    assert found.watch.loss.equal(watch.loss)
    (again,) = found.watch.points
    for name in ("progressive_log_loss", "rows", "logits"):
        one, other = getattr(again, name), getattr(point, name)
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@dataclass(frozen=True)
class Holder:
    array: Array


@pytest.mark.parametrize(
    "value",
    [
        [],
        {},
        {"array": None},
        {"array": {"dtype": "O", "shape": [1], "base64": "AAAAAAAAAAA="}},
        {"array": {"dtype": "nonsense", "shape": [1], "base64": ""}},
        {"array": {"dtype": "<f8", "shape": [2], "base64": "AAAAAAAAAAA="}},
        {"array": {"dtype": "<f8", "shape": [1], "base64": "?"}},
        {"array": {"dtype": "<f8", "shape": "one", "base64": "AAAAAAAAAAA="}},
    ],
)
def test_a_value_of_another_structure_is_refused_in_one_line(value):
    with (
        pytest.raises(DataError, match=r"^file: not a holder") as refused,
        expecting("a holder", "file"),
    ):
        from_json(Holder, value)

    assert "\n" not in str(refused.value)
