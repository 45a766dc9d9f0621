"""The trainers that Soloist is compared with: plain TorchRec, DeepCTR-Torch, the DLRM reference."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import HashStore  # type: ignore[attr-defined]
from torchrec.distributed.embedding_types import EmbeddingComputeKernel
from torchrec.distributed.model_parallel import DistributedModelParallel, get_default_sharders
from torchrec.distributed.planner import EmbeddingShardingPlanner, ParameterConstraints, Topology
from torchrec.distributed.types import ShardingType
from torchrec.models.dlrm import DLRM
from torchrec.modules.embedding_configs import EmbeddingBagConfig
from torchrec.modules.embedding_modules import EmbeddingBagCollection
from torchrec.optim.apply_optimizer_in_backward import apply_optimizer_in_backward
from torchrec.optim.optimizers import in_backward_optimizer_filter
from torchrec.optim.rowwise_adagrad import RowWiseAdagrad
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

from distrib.training.step import set_arithmetic
from jobs.benchmark.harness import Throughput
from jobs.benchmark.workloads import BATCH, BOTTOM, DENSE, HIDDEN, TABLES, WIDTH, throughput_of
from recsys.config import Recipe
from recsys.data.click_log import ClickLog
from recsys.errors import ConfigError
from recsys.models.config import DeepFMConfig, DLRMConfig

DLRM_SCRIPT = "dlrm_s_pytorch.py"
_ITERATION = re.compile(r"Finished training it \d+/\d+ of epoch 0, ([\d.]+) ms/it")
_DLRM_DAYS = 7  # the trainer splits Kaggle's logs into seven days and tests on the last
_DLRM_PRINTS = 10
_DEEPCTR_WARM_UP = 2


def torchrec_rate(log: ClickLog, recipe: Recipe) -> float:
    """Train one pass of a DLRM in a loop as in TorchRec's documentation; return examples/s.

    The model is a DistributedModelParallel in a process group of one, with the tables' optimizer
    applied in the backward pass. The rate is that of the second half.
    """
    device = set_arithmetic(recipe)
    with process_group(device):
        return torchrec_fit(torchrec_model(log, recipe, device), log, recipe, device).rate()


def torchrec_model(log: ClickLog, recipe: Recipe, device: torch.device) -> DistributedModelParallel:
    """Return the model with its tables and their optimizer in FBGEMM's fused kernel."""
    model = torchrec_dlrm(log, recipe, device)
    # By default the planner makes small tables data-parallel, whose optimizer is not fused.
    fused = ParameterConstraints(
        sharding_types=[ShardingType.TABLE_WISE.value],
        compute_kernels=[EmbeddingComputeKernel.FUSED.value],
    )
    planner = EmbeddingShardingPlanner(
        topology=Topology(world_size=1, compute_device=device.type),
        constraints={feature.name: fused for feature in log.schema.sparse},
    )
    plan = planner.collective_plan(model, get_default_sharders(), dist.group.WORLD)
    return DistributedModelParallel(model, device=device, plan=plan)


def torchrec_fit(
    model: DistributedModelParallel, log: ClickLog, recipe: Recipe, device: torch.device
) -> Throughput:
    """Train one pass over the training split."""
    throughput = throughput_of(log, recipe)
    dense = dict(in_backward_optimizer_filter(model.named_parameters()))
    optimizer = torch.optim.Adagrad(dense.values(), recipe.optimizer.dense_learning_rate)
    loss_of = torch.nn.BCEWithLogitsLoss()
    for batch in torchrec_batches(log, recipe.stream.batch_size):
        features, sparse, labels = (each.to(device, non_blocking=True) for each in batch)
        optimizer.zero_grad()
        loss_of(model(features, sparse).squeeze(-1), labels).backward()
        optimizer.step()
        throughput(len(labels))
    return throughput


def torchrec_dlrm(log: ClickLog, recipe: Recipe, device: torch.device) -> DLRM:
    """Return TorchRec's DLRM in the sizes of the recipe, with tables on the meta device."""
    config = recipe.model
    assert isinstance(config, DLRMConfig)
    configs = [
        EmbeddingBagConfig(
            name=feature.name,
            num_embeddings=feature.cardinality,
            embedding_dim=config.embedding_dim,
            feature_names=[feature.name],
        )
        for feature in log.schema.sparse
    ]
    tables = EmbeddingBagCollection(device=torch.device("meta"), tables=configs)
    settings = {"lr": recipe.optimizer.sparse_learning_rate}
    apply_optimizer_in_backward(RowWiseAdagrad, tables.parameters(), settings)
    return DLRM(
        tables,
        dense_in_features=len(log.schema.dense),
        dense_arch_layer_sizes=[*config.bottom, config.embedding_dim],
        over_arch_layer_sizes=[*config.hidden, 1],
        dense_device=device,
    )


def torchrec_batches(
    log: ClickLog, size: int
) -> Iterator[tuple[Tensor, KeyedJaggedTensor, Tensor]]:
    """Yield dense features, ids and labels of the training split in stored order."""
    keys = [feature.name for feature in log.schema.sparse]
    split = log.splits["train"]
    for start in range(split.start, split.stop, size):
        rows = slice(start, min(start + size, split.stop))
        ids = torch.from_numpy(log.ids[rows].T.copy())
        ones = torch.ones(ids.numel(), dtype=torch.int32)
        sparse = KeyedJaggedTensor.from_lengths_sync(keys=keys, values=ids.flatten(), lengths=ones)
        dense, labels = (torch.from_numpy(each[rows].copy()) for each in (log.dense, log.label))
        yield dense, sparse, labels


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Create a process group of this process only."""
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


def require_deepctr() -> None:
    """Raise ConfigError if DeepCTR-Torch is not installed."""
    try:
        import_module("deepctr_torch")
    except ImportError as error:
        raise ConfigError(
            f'DeepCTR-Torch: {error}; install it with pip install "soloist[peers]"'
        ) from None


def deepctr_rate(log: ClickLog, recipe: Recipe, batches: int, *, regularized: bool) -> float:
    """Train DeepCTR-Torch's DeepFM on the first batches with its ``fit``; return examples/s.

    ``regularized`` keeps its default L2 penalty on tables.
    """
    require_deepctr()
    inputs, models = import_module("deepctr_torch.inputs"), import_module("deepctr_torch.models")
    torch.set_num_threads(recipe.engine.threads)
    torch.set_float32_matmul_precision(recipe.engine.matmul_precision)
    config, size = recipe.model, recipe.stream.batch_size
    assert isinstance(config, DeepFMConfig)
    columns = [
        inputs.SparseFeat(feature.name, feature.cardinality, config.embedding_dim)
        for feature in log.schema.sparse
    ] + [inputs.DenseFeat(name, 1) for name in log.schema.dense]
    penalties = {} if regularized else {"l2_reg_linear": 0, "l2_reg_embedding": 0}
    model = models.DeepFM(
        columns, columns, dnn_hidden_units=config.hidden, device="cpu", **penalties
    )
    model.compile("adagrad", "binary_crossentropy")

    def fit(count: int) -> None:
        start = log.splits["train"].start
        rows = slice(start, start + size * count)
        features: dict[str, np.ndarray] = {
            each.name: log.ids[rows, at] for at, each in enumerate(log.schema.sparse)
        }
        features |= {name: log.dense[rows, at] for at, name in enumerate(log.schema.dense)}
        model.fit(features, log.label[rows], batch_size=size, epochs=1, verbose=0, shuffle=False)

    fit(_DEEPCTR_WARM_UP)
    start = time.perf_counter()
    fit(batches)
    return size * batches / (time.perf_counter() - start)


class DlrmReference(NamedTuple):
    """A checkout of facebookresearch/dlrm, and the training split in the format that it reads."""

    checkout: Path
    file: Path
    cardinalities: tuple[int, ...]
    batches: int


def check_dlrm(checkout: Path) -> None:
    """Raise ConfigError if a directory does not contain the DLRM reference trainer."""
    if not (checkout / DLRM_SCRIPT).exists():
        raise ConfigError(
            f"--dlrm {checkout}: found no {DLRM_SCRIPT}, expected a checkout of "
            "facebookresearch/dlrm"
        )


def write_for_dlrm(checkout: Path, log: ClickLog, scratch: Path) -> DlrmReference:
    """Write the training split as the trainer stores Criteo's Kaggle logs; it tests on a batch."""
    split = log.splits["train"]
    rows, trained = slice(split.start, split.stop), len(split) - BATCH
    cardinalities = tuple(feature.cardinality for feature in log.schema.sparse)
    file = scratch / "processed.npz"
    np.savez(
        file,
        X_int=np.expm1(log.dense[rows]),  # the trainer reads log(x + 1)
        X_cat=log.ids[rows],
        y=log.label[rows].astype(np.int32),
        counts=np.array(cardinalities),
    )
    days = np.diff(np.linspace(0, trained, _DLRM_DAYS).astype(np.int64))
    np.savez(scratch / "data_day_count.npz", total_per_file=[*days, BATCH])
    return DlrmReference(checkout, file, cardinalities, batches=trained // BATCH)


def dlrm_rate(reference: DlrmReference, optimizer: str) -> float:
    """Train one pass on one thread; return the examples per second of its second half.

    The rate is the trainer's own figure, ms per iteration, which excludes loading the data.

    Raises:
        ConfigError: it fails; quotes its last line.
    """
    arguments = {
        "arch-sparse-feature-size": WIDTH,
        "arch-mlp-bot": "-".join(map(str, (DENSE, *BOTTOM, WIDTH))),
        "arch-mlp-top": "-".join(map(str, (interactions(), *HIDDEN, 1))),
        "arch-embedding-size": "-".join(map(str, reference.cardinalities)),
        "data-generation": "dataset",
        "data-set": "kaggle",
        "data-randomize": "none",
        "processed-data-file": reference.file,
        "raw-data-file": reference.file.with_name("data.txt"),
        "loss-function": "bce",
        "round-targets": True,
        "learning-rate": 0.02,
        "optimizer": optimizer,
        "mini-batch-size": BATCH,
        "print-freq": max(reference.batches // _DLRM_PRINTS, 1),
    }
    options = [f"--{name}={value}" for name, value in arguments.items()]
    finished = subprocess.run(
        [sys.executable, DLRM_SCRIPT, "--print-time", *options],
        cwd=reference.checkout,
        env=os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return rate_in_log(finished.stdout, finished.stderr)


def rate_in_log(output: str, errors: str) -> float:
    """Return the examples per second of the second half of the trainer's output."""
    times_ms = [float(ms) for ms in _ITERATION.findall(output)]
    if not times_ms:
        last = (errors.strip().splitlines() or ["nothing"])[-1]
        raise ConfigError(f"{DLRM_SCRIPT}: printed no times; last line: {last}")
    return 1000 * BATCH / float(np.mean(times_ms[len(times_ms) // 2 :]))


def interactions() -> int:
    """Return the input size of DLRM's top tower: the bottom tower's output and all pairs."""
    return WIDTH + (TABLES + 1) * TABLES // 2
