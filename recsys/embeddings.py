"""Tables of an arm: their configuration, their fused optimiser, their initial rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchrec.modules.embedding_configs import EmbeddingBagConfig, PoolingType
from torchrec.modules.fused_embedding_modules import FusedEmbeddingBagCollection
from torchrec.optim.rowwise_adagrad import RowWiseAdagrad

from recsys.arms import Group
from recsys.config import ModelConfig, OptimizerConfig
from recsys.data.schema import Schema
from recsys.errors import ConfigError

_POOLING = {"mean": PoolingType.MEAN, "sum": PoolingType.SUM}
_OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "rowwise_adagrad": RowWiseAdagrad,
    "adagrad": torch.optim.Adagrad,
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
}


def feature_key(replica: int, feature: str) -> str:
    """Return the key of a replica's feature in the fused ``KeyedJaggedTensor``."""
    return f"r{replica}/{feature}"


def table_name(replica: int, group: str, table_set: int, feature: str) -> str:
    """Return the name of one table; ``.`` is not allowed in names of modules."""
    return f"r{replica}/{group}{table_set}/{feature}".replace(".", "·")


def table_configs(
    groups: Sequence[Group], schema: Schema, model: ModelConfig, replicas: int
) -> list[EmbeddingBagConfig]:
    """Return the tables of all groups in the order group, replica, table set, feature.

    The dense part relies on this order: it views a group's columns as ``(B, R·sets, T, E)``.
    """
    return [
        EmbeddingBagConfig(
            name=table_name(replica, group.name, table_set, feature.name),
            num_embeddings=feature.cardinality,
            embedding_dim=group.embedding_dim,
            feature_names=[feature_key(replica, feature.name)],
            pooling=_POOLING[model.pooling],
        )
        for group in groups
        for replica in range(replicas)
        for table_set in range(group.table_sets)
        for feature in schema.sparse
    ]


def fused_collection(
    tables: list[EmbeddingBagConfig], optimizer: OptimizerConfig, device: torch.device
) -> FusedEmbeddingBagCollection:
    """Return the tables with their optimiser in one FBGEMM kernel: a backward pass updates them.

    Raises:
        ConfigError: FBGEMM has no such optimiser on this device.
    """
    if optimizer.sparse == "adam" and device.type == "cpu":
        raise ConfigError(
            "optimizer.sparse: found adam on a CPU, where FBGEMM has none; "
            "expected rowwise_adagrad, adagrad or sgd"
        )
    settings: dict[str, Any] = {"lr": optimizer.sparse_learning_rate}
    if optimizer.sparse != "sgd":
        settings["eps"] = optimizer.eps
    return FusedEmbeddingBagCollection(
        tables=tables,
        optimizer_type=_OPTIMIZERS[optimizer.sparse],
        optimizer_kwargs=settings,
        device=device,
    )


def initialise_table(weight: Tensor, generator: torch.Generator) -> None:
    """Fill a table uniformly in ``±1/sqrt(rows)``, TorchRec's default range.

    Drawn on the CPU, so that every device starts from the same rows.
    """
    bound = weight.shape[0] ** -0.5
    rows = torch.rand(weight.shape, generator=generator, dtype=weight.dtype)
    with torch.no_grad():
        weight.copy_(rows.mul_(2 * bound).sub_(bound))
