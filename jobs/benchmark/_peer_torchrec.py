"""A plain TorchRec loop, as TorchRec's documentation shows one.

DistributedModelParallel in a process group of one, the tables' optimiser applied in the backward
pass, a KeyedJaggedTensor for each batch, the dense optimiser beside it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torchrec.distributed.embedding_types import EmbeddingComputeKernel
from torchrec.distributed.model_parallel import DistributedModelParallel, get_default_sharders
from torchrec.distributed.planner import (
    EmbeddingShardingPlanner,
    ParameterConstraints,
    Topology,
)
from torchrec.distributed.types import ShardingType
from torchrec.models.dlrm import DLRM
from torchrec.modules.embedding_configs import EmbeddingBagConfig
from torchrec.modules.embedding_modules import EmbeddingBagCollection
from torchrec.optim.apply_optimizer_in_backward import apply_optimizer_in_backward
from torchrec.optim.optimizers import in_backward_optimizer_filter
from torchrec.optim.rowwise_adagrad import RowWiseAdagrad
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

from distrib.training.step import set_arithmetic
from jobs.benchmark._criteo import clock_of
from jobs.benchmark._turns import Clock
from recsys.config import Recipe
from recsys.data.click_log import ClickLog
from recsys.models.config import DLRMConfig


def rate(log: ClickLog, recipe: Recipe) -> float:
    """Train one pass of a DLRM recipe and return the examples per second of its second half."""
    device = set_arithmetic(recipe)
    with process_group(device):
        return fit(parallel(log, recipe, device), log, recipe, device).rate()


def parallel(log: ClickLog, recipe: Recipe, device: torch.device) -> DistributedModelParallel:
    """Return the model, its tables with the optimiser in FBGEMM's fused kernel."""
    model = plain(log, recipe, device)
    # Left to itself the planner makes small tables data-parallel, whose optimiser is not fused.
    planner = EmbeddingShardingPlanner(
        topology=Topology(world_size=1, compute_device=device.type),
        constraints={
            feature.name: ParameterConstraints(
                sharding_types=[ShardingType.TABLE_WISE.value],
                compute_kernels=[EmbeddingComputeKernel.FUSED.value],
            )
            for feature in log.schema.sparse
        },
    )
    plan = planner.collective_plan(model, get_default_sharders(), dist.group.WORLD)
    return DistributedModelParallel(model, device=device, plan=plan)


def fit(
    model: DistributedModelParallel, log: ClickLog, recipe: Recipe, device: torch.device
) -> Clock:
    """Train one pass over the training split."""
    clock = clock_of(log, recipe)
    dense = dict(in_backward_optimizer_filter(model.named_parameters()))
    optimizer = torch.optim.Adagrad(dense.values(), recipe.optimizer.dense_learning_rate)
    loss_of = torch.nn.BCEWithLogitsLoss()
    for batch in batches(log, recipe.stream.batch_size):
        features, sparse, labels = (each.to(device, non_blocking=True) for each in batch)
        optimizer.zero_grad()
        loss_of(model(features, sparse).squeeze(-1), labels).backward()
        optimizer.step()
        clock(len(labels))
    return clock


def plain(log: ClickLog, recipe: Recipe, device: torch.device) -> DLRM:
    """Return TorchRec's own DLRM in the sizes of the recipe, its tables yet without memory."""
    config = recipe.model
    assert isinstance(config, DLRMConfig)
    tables = EmbeddingBagCollection(
        device=torch.device("meta"),
        tables=[
            EmbeddingBagConfig(
                name=feature.name,
                num_embeddings=feature.cardinality,
                embedding_dim=config.embedding_dim,
                feature_names=[feature.name],
            )
            for feature in log.schema.sparse
        ],
    )
    settings = {"lr": recipe.optimizer.sparse_learning_rate}
    apply_optimizer_in_backward(RowWiseAdagrad, tables.parameters(), settings)
    return DLRM(
        tables,
        dense_in_features=len(log.schema.dense),
        dense_arch_layer_sizes=[*config.bottom, config.embedding_dim],
        over_arch_layer_sizes=[*config.hidden, 1],
        dense_device=device,
    )


def batches(log: ClickLog, size: int) -> Iterator[tuple[Tensor, KeyedJaggedTensor, Tensor]]:
    """Yield dense features, ids and labels of the training split in stored order."""
    keys = [feature.name for feature in log.schema.sparse]
    split = log.splits["train"]
    for start in range(split.start, split.stop, size):
        rows = slice(start, min(start + size, split.stop))
        ids = torch.from_numpy(log.ids[rows].T.copy())
        yield (
            torch.from_numpy(log.dense[rows].copy()),
            KeyedJaggedTensor.from_lengths_sync(
                keys=keys,
                values=ids.flatten(),
                lengths=torch.ones(ids.numel(), dtype=torch.int32),
            ),
            torch.from_numpy(log.label[rows].copy()),
        )


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Have a process group of this process alone."""
    with tempfile.TemporaryDirectory() as place:
        meeting = f"file://{Path(place, 'meeting')}"
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, init_method=meeting, rank=0, world_size=1)
        try:
            yield
        finally:
            dist.destroy_process_group()
