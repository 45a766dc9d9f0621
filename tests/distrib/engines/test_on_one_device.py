"""Towers, objective and validation stay on the device of a batch.

Shown on PyTorch's device without memory, ``meta``: an operation on tensors of two devices raises
there as it does on a GPU.
"""

from __future__ import annotations

import pytest
import torch

from distrib.training.evaluator import Evaluator
from distrib.training.step import dense_optimizer, shape_of_phase
from recsys.seeds import Seeds
from tests.support.arms import ARMS
from tests.support.logs import small_log, small_recipe

META = torch.device("meta")
MODELS = ("mlp", "dlrm", "dcnv2", "deepfm")
BATCH = 8


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return small_log(tmp_path_factory.mktemp("devices"))


def towers(log, recipe):
    seeds = [Seeds(), Seeds(shuffle=1)]
    arm = shape_of_phase(recipe, log.schema, seeds, recipe.arm.phases[-1].groups)
    arm.dense.to(META)
    return arm


def step(log, recipe, arm) -> set[torch.device]:
    """Train a step on what tables would put out; return the devices of all that was touched."""
    columns = sum(table.embedding_dim for table in arm.tables)
    put_out = torch.zeros(BATCH, columns, device=META, requires_grad=True)
    labels = torch.zeros(2, BATCH, device=META)
    watch = Evaluator(log, recipe, 2, META, 1)
    optimizer = dense_optimizer(arm.dense, recipe.optimizer)
    phase = recipe.arm.phases[-1].name
    logits = arm.dense.over_columns(
        torch.zeros(2, BATCH, len(log.schema.dense), device=META), put_out
    )
    losses = recipe.arm.objective(logits, labels, phase=phase, progress=0.5)
    losses.sum().backward()
    optimizer.step()
    watch.observe(recipe.arm.served_logits(logits), labels)
    gradients = [each.grad for each in arm.dense.parameters() if each.grad is not None]
    return {each.device for each in (losses, put_out.grad, watch.state().loss, *gradients)}


@pytest.mark.parametrize("arm", ARMS.values(), ids=ARMS.keys())
def test_an_arm_stays_on_its_device(log, arm):
    recipe = small_recipe(arm=arm)

    assert step(log, recipe, towers(log, recipe)) == {META}


@pytest.mark.parametrize("model", MODELS)
def test_a_model_stays_on_its_device(log, model):
    recipe = small_recipe(model={"name": model})

    assert step(log, recipe, towers(log, recipe)) == {META}


def test_what_stays_behind_is_seen(log):
    recipe = small_recipe(model={"name": "dlrm"})
    arm = towers(log, recipe)
    first = arm.dense.get_submodule("towers.model.top.layers.0")
    first.bias = torch.nn.Parameter(torch.zeros_like(first.bias, device="cpu"))

    with pytest.raises(RuntimeError, match="device"):
        step(log, recipe, arm)
