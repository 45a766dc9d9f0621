"""The weights of what is served are enough to make it again."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from distrib.local import train
from recsys.data.stream import Batches
from recsys.errors import DataError
from recsys.module import served_logits
from recsys.serving.weight_files import read_weights, write_weights
from recsys.serving.weights import rebuilt
from tests.support.arms import ARMS
from tests.support.logs import own_recipe, small_log, small_recipe, trials


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return small_log(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def kept(log, tmp_path_factory):
    """A directory with the weights of a small model, and its trial."""
    (trial,) = trials(log, small_recipe(), 1)
    (result,) = train(log, [trial])
    place = tmp_path_factory.mktemp("kept")
    write_weights(place, result.served_weights())
    return place, trial


@pytest.mark.parametrize(
    "recipe",
    [
        *(small_recipe(arm=arm) for arm in ARMS.values()),
        own_recipe("uneven", arm=ARMS["ensemble"]),
    ],
    ids=[*ARMS, "own model"],
)
def test_what_is_rebuilt_of_a_replica_trained_in_company_predicts_as_it_did(log, recipe, tmp_path):
    first, second = trials(log, recipe, 2)
    _, result = train(log, [first, second])
    write_weights(tmp_path, result.served_weights())

    arm = rebuilt(read_weights(tmp_path), recipe.arm, recipe.model, second.seeds)

    (batch,) = Batches(log, 1).same_rows(result.example, len(result.example))
    with torch.no_grad():
        (logits,) = served_logits(arm, batch).numpy()
    np.testing.assert_allclose(logits, result.logit, atol=1e-5)


def test_weights_of_another_model_are_refused(kept):
    place, trial = kept
    wider = small_recipe(model={"hidden": [6, 5]})

    with pytest.raises(
        DataError, match=r"weights: found tower.layers.3.bias \(1, 1, 4\), expected"
    ):
        rebuilt(read_weights(place), wider.arm, wider.model, trial.seeds)


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("weights.pt", None, "weights.pt: No such file"),
        ("weights.pt", b"PK", "not what was written"),
        ("weights.json", None, "--keep-weights"),
        ("weights.json", b"{", "not valid JSON"),
        ("weights.json", b"[]", "not the description of weights in version 1"),
        (
            "weights.json",
            json.dumps({"format": "soloist weights", "version": 1}).encode(),
            "not a whole description",
        ),
    ],
)
def test_weights_that_are_not_whole_are_refused_in_one_line(kept, tmp_path, file, content, says):
    for path in kept[0].iterdir():
        if path.name != file:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    if content is not None:
        (tmp_path / file).write_bytes(content)

    with pytest.raises(DataError, match=says) as refused:
        read_weights(tmp_path)

    assert len(str(refused.value).splitlines()) == 1
