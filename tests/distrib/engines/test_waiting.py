"""A training step asks a GPU for nothing: the host hands it over and goes on."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from distrib.training.evaluator import Evaluator
from recsys.data.stream import Stream
from recsys.embeddings import fused_collection
from recsys.module import Arm
from tests.support.devices import needs_gpu
from tests.support.logs import small_log, small_recipe, trials

CPU = torch.device("cpu")
ARMS = (
    {"kind": "single", "activation": "smelu(beta=0.5)"},
    {"kind": "ensemble"},
    {"kind": "self_ensemble", "loss": "mean_distil"},
    {"kind": "anti_distilled"},
    {"kind": "distilled", "heads": 2},
    {"kind": "codistilled"},
)
MODELS = ("mlp", "dlrm", "dcnv2", "deepfm")
FREELY = nullcontext()
WAIT = {"_local_scalar_dense", "index", "nonzero", "_unique2", "masked_select", "equal"}
"""Operations that bring a number to the host, or an index from it; all but these run ahead"""


class Watched(TorchDispatchMode):
    """Notes which operations would make the host wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.waited: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        if name in WAIT:
            self.waited.append(name)
        return function(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return small_log(tmp_path_factory.mktemp("waiting"))


def step(log, recipe, device, around, around_tables=FREELY) -> None:
    """Do within ``around`` what the local engine does with a batch, but for the optimiser's step.

    That is PyTorch's own and counts its steps on the host, as FBGEMM's tables do.
    """
    few = trials(log, recipe, 2)
    arm = Arm(
        recipe.arm,
        recipe.model,
        log.schema,
        [trial.seeds for trial in few],
        lambda tables: fused_collection(tables, recipe.optimizer, device),
    ).to(device)
    stream = Stream(log, "train", recipe.stream, [trial.seeds for trial in few])
    watch = Evaluator(log, recipe, 2, device, stream.batch_count)
    for number, on_host in enumerate(stream.batches(0, 2)):
        batch = on_host.to(device)
        if number == 0:  # what is done once may wait
            arm(batch)
            continue
        with around_tables:
            embedded = arm.embeddings(batch.sparse)
        with around:
            logits = arm.dense(batch.dense, embedded)
            losses = recipe.arm.objective(logits, batch.labels, phase="joint", progress=0.5)
            losses.sum().backward()
            watch.observe(recipe.arm.served_logits(logits), batch.labels)


@pytest.mark.parametrize("arm", ARMS, ids=lambda arm: arm["kind"])
def test_a_step_of_an_arm_never_waits(log, arm):
    watched = Watched()

    step(log, small_recipe(arm=arm), CPU, watched)

    assert watched.waited == []


@pytest.mark.parametrize("model", MODELS)
def test_a_step_of_a_model_never_waits(log, model):
    watched = Watched()

    step(log, small_recipe(model={"name": model}), CPU, watched)

    assert watched.waited == []


def test_a_wait_is_seen():
    towers = torch.zeros(1, 3, 4, 1)

    with Watched() as watched:
        towers[:, [0, 1]]
        towers.sum().item()

    assert watched.waited == ["index", "_local_scalar_dense"]


class Refusing:
    """PyTorch raises where the host waits for a GPU."""

    def __enter__(self) -> None:
        torch.cuda.set_sync_debug_mode("error")

    def __exit__(self, *_: object) -> None:
        torch.cuda.set_sync_debug_mode("default")


@needs_gpu
@pytest.mark.parametrize("arm", ARMS, ids=lambda arm: arm["kind"])
def test_on_a_gpu_a_step_never_waits(log, arm):
    recipe = small_recipe(arm=arm, engine={"device": "cuda"})

    step(log, recipe, torch.device("cuda", 0), Refusing(), Refusing())


@needs_gpu
def test_on_a_gpu_a_wait_is_refused():
    with Refusing(), pytest.raises(RuntimeError, match="synchroniz"):
        torch.zeros(1, device="cuda").item()
