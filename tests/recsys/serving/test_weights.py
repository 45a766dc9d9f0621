"""The weights of what is served are enough to make it again."""

from __future__ import annotations

import io
import json
import pickle
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save

from distrib.engines.local import train
from recsys.data.stream import Batches
from recsys.errors import DataError
from recsys.files import sha256_of
from recsys.module import served_logits
from recsys.serving.weights import WEIGHTS, WEIGHTS_META, read_weights, rebuilt, write_weights
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
        ("weights.safetensors", None, "weights.safetensors: No such file"),
        ("weights.safetensors", b"PK", "checksum mismatch"),
        ("weights.json", None, "--keep-weights"),
        ("weights.json", b"{", "not valid JSON"),
        ("weights.json", b"[]", "found a list, expected a JSON object"),
        (
            "weights.json",
            json.dumps({"format": "soloist weights", "version": 2}).encode(),
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


def pickled() -> bytes:
    held = io.BytesIO()
    torch.save({"tables": {}, "towers": {}}, held)
    return held.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"weights",
        b"\xff" * 64,
        pickled(),
        pickle.dumps([1, 2]),
        save({"else": torch.ones(2)}),
        save({"tables/0/c0": torch.ones(2)})[:-3],
    ],
    ids=["empty", "text", "absurd header", "torch.save", "pickle", "other keys", "cut"],
)
def test_weights_of_a_foreign_writer_are_refused_by_their_file(kept, tmp_path, content):
    damaged = shutil.copytree(kept[0], tmp_path / "damaged")
    (damaged / WEIGHTS).write_bytes(content)
    meta = json.loads((damaged / WEIGHTS_META).read_text())
    meta["sha256"] = sha256_of(damaged / WEIGHTS)
    (damaged / WEIGHTS_META).write_text(json.dumps(meta))

    with pytest.raises(DataError, match=r"weights.safetensors: not weights") as refused:
        read_weights(damaged)

    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("own", [False, True])
def test_a_schema_of_absurd_tables_is_refused_before_they_are_allocated(kept, own):
    place, trial = kept
    model = own_recipe("small").model if own else trial.recipe.model
    weights = read_weights(place)
    first, *others = weights.schema.sparse
    huge = replace(weights.schema, sparse=(replace(first, cardinality=10**12), *others))

    with pytest.raises(DataError, match=r"weights: found \d+ numbers in tables, expected \d{13}"):
        rebuilt(replace(weights, schema=huge), trial.recipe.arm, model, trial.seeds)
