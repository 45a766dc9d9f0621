"""Exported programs: every arm and every model, and what cannot be exported."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from distrib.engines.local import train
from distrib.training.evaluator import sigmoid
from recsys.data.stream import Batches
from recsys.data.synthetic import Synthetic
from recsys.errors import ConfigError, DataError
from recsys.serving.export import check_place, export, exported
from recsys.serving.loader import load
from recsys.serving.timing import request_of
from recsys.serving.weights import rebuilt
from tests.support.arms import ARMS
from tests.support.logs import own_recipe, small_log, small_recipe, trials

MODELS = {
    **{name: small_recipe(arm=arm) for name, arm in ARMS.items()},
    **{
        name: small_recipe(model={"name": name, "hidden": [6, 4]}, arm=ARMS["ensemble"])
        for name in ("dlrm", "dcnv2", "deepfm")
    },
    "sum pooling, no layer norm": small_recipe(
        model={"pooling": "sum", "layer_norm": False}, arm=ARMS["smelu"]
    ),
    **{
        f"own, {name}": own_recipe(name, arm=ARMS["ensemble"])
        for name in ("torchrec_dlrm", "uneven", "forgetful")
    },
    "own, two heads": own_recipe("uneven", arm=ARMS["offline, two heads"]),
}


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return small_log(tmp_path_factory.mktemp("export"))


def trained(log, recipe):
    """Return a replica's result, and the served part rebuilt of its weights."""
    (trial,) = trials(log, recipe, 1)
    (result,) = train(log, [trial])
    return result, rebuilt(result.served_weights(), recipe.arm, recipe.model, trial.seeds)


@pytest.mark.parametrize("recipe", MODELS.values(), ids=MODELS)
def test_a_program_predicts_what_its_trial_did(log, recipe, tmp_path):
    result, arm = trained(log, recipe)

    export(arm, tmp_path / "program", trial={}, libraries={})

    model = load(tmp_path / "program")
    answers = [
        model(request.dense, request.sparse).numpy()
        for batch in Batches(log, 1).same_rows(result.example, 100)
        for request in [request_of(batch, log.schema)]
    ]
    np.testing.assert_allclose(np.concatenate(answers), sigmoid(result.logit), atol=1e-6)


@pytest.mark.parametrize("arm", ["single", "ensemble", "self-ensemble", "distilled", "codistilled"])
def test_a_program_reads_the_rows_that_were_counted_when_its_trial_was_evaluated(log, arm):
    result, served = trained(log, small_recipe(arm=ARMS[arm]))
    program = exported(served).module()
    (batch,) = Batches(log, 1).same_rows(result.example, len(result.example))
    request = request_of(batch, log.schema)
    ids = torch.stack([request.sparse[each.name] for each in log.schema.single_valued], 1)
    bags = tuple(request.sparse[each.name] for each in log.schema.multi_valued)

    with RowsRead() as read:
        program(request.dense, ids, bags)

    assert read.rows / len(result.example) == pytest.approx(result.cost.serve_lookups)


class RowsRead(TorchDispatchMode):
    """Counts the rows of tables that PyTorch's own operations read."""

    rows = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        reading = ("aten::embedding", "aten::_embedding_bag", "aten::_embedding_bag_forward_only")
        self.rows += args[1].numel() if func._schema.name in reading else 0
        return func(*args, **(kwargs or {}))


def test_a_model_that_decides_by_its_data_is_refused_with_the_reason(log):
    _, arm = trained(log, own_recipe("moody"))

    with pytest.raises(ConfigError, match=r"moody: cannot be exported: .*data-dependent") as told:
        exported(arm)

    assert "\n" not in str(told.value)


def test_a_program_takes_the_place_of_an_earlier_one_and_of_nothing_else(log, tmp_path):
    _, arm = trained(log, small_recipe())
    place, other = tmp_path / "program", tmp_path / "other"
    other.mkdir()
    (other / "letter.txt").write_text("dear")

    first = export(arm, place, trial={"name": "first"}, libraries={})
    second = export(arm, place, trial={"name": "second"}, libraries={})
    with pytest.raises(DataError, match="is not an exported program; it is unchanged"):
        check_place(other)

    assert first.trial != second.trial
    assert load(place).description == second
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "program"]


@pytest.mark.parametrize("is_there", [True, False])
def test_a_program_is_written_behind_a_link(log, tmp_path, is_there):
    _, arm = trained(log, small_recipe())
    (tmp_path / "large").mkdir()
    if is_there:
        (tmp_path / "large" / "program").mkdir()
    (tmp_path / "link").symlink_to("large/program")

    expected = export(arm, tmp_path / "link", trial={}, libraries={})

    assert load(tmp_path / "large" / "program").description == expected
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("bags", [(), (9, 30)])
def test_logs_without_dense_or_with_no_or_several_bags_are_served_too(tmp_path, bags):
    truth = Synthetic(rows=400, dense=0, cardinalities=(7,), bag_cardinalities=bags)
    plain = small_log(tmp_path, truth)
    result, arm = trained(plain, small_recipe(arm=ARMS["smelu"]))

    export(arm, tmp_path / "program", trial={}, libraries={})

    (batch,) = Batches(plain, 1).same_rows(result.example, len(result.example))
    request = request_of(batch, plain.schema)
    answers = load(tmp_path / "program")(request.dense, request.sparse)
    np.testing.assert_allclose(answers.numpy(), sigmoid(result.logit), atol=1e-6)
