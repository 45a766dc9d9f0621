"""Models by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torchrec.modules.embedding_configs import EmbeddingBagConfig, PoolingType

from recsys.arms import Group
from recsys.data.schema import Schema
from recsys.embeddings import uniform_rows
from recsys.models.blueprint import Blueprint, SeedPath, Shape
from recsys.models.built_in import DLRM, MLP, DCNv2, DeepFM
from recsys.models.config import (
    BuiltInConfig,
    CustomModelConfig,
    DCNv2Config,
    DeepFMConfig,
    DLRMConfig,
    MLPConfig,
    ModelConfig,
)
from recsys.models.custom.blueprint import custom_blueprint
from recsys.seeds import torch_generator

_NETWORKS: dict[type[BuiltInConfig], Callable[[Any, Shape, Sequence[torch.Generator]], nn.Module]]
_NETWORKS = {MLPConfig: MLP, DLRMConfig: DLRM, DCNv2Config: DCNv2, DeepFMConfig: DeepFM}
_POOLING = {"mean": PoolingType.MEAN, "sum": PoolingType.SUM}


def blueprints(groups: Sequence[Group], model: ModelConfig, schema: Schema) -> dict[str, Blueprint]:
    """Return each group's blueprint by name. A custom model is tested on the way.

    Raises:
        ConfigError: a custom model cannot be used.
    """
    return {group.name: _blueprint(group, model, schema) for group in groups}


def _blueprint(group: Group, model: ModelConfig, schema: Schema) -> Blueprint:
    if isinstance(model, CustomModelConfig):
        return custom_blueprint(model, schema, group)
    return _BuiltIn(config=model, schema=schema, shape=_shape(schema, group))


@dataclass(frozen=True, kw_only=True, slots=True)
class _BuiltIn:
    """A built-in model: a table for each feature, all of one width."""

    config: BuiltInConfig
    schema: Schema
    shape: Shape

    @property
    def tables(self) -> list[EmbeddingBagConfig]:
        return [
            EmbeddingBagConfig(
                name=feature.name,
                num_embeddings=feature.cardinality,
                embedding_dim=self.shape.embedding_dim,
                feature_names=[feature.name],
                pooling=_POOLING[self.config.pooling],
            )
            for feature in self.schema.sparse
        ]

    def initial_rows(self, path: SeedPath) -> Iterator[tuple[str, Tensor]]:
        for table in self.tables:
            generator = torch_generator(*path, "table", table.name)
            yield (
                table.name,
                uniform_rows(table.num_embeddings, table.embedding_dim, generator),
            )

    def towers(self, paths: Sequence[SeedPath]) -> nn.Module:
        generators = [torch_generator(*path, "tower") for path in paths]
        return _NETWORKS[type(self.config)](self.config, self.shape, generators)


def _shape(schema: Schema, group: Group) -> Shape:
    assert group.embedding_dim is not None, "every built-in model has an embedding_dim"
    return Shape(
        sparse_features=len(schema.sparse),
        dense_features=len(schema.dense),
        embedding_dim=group.embedding_dim,
        heads=group.heads,
        activation=group.activation,
    )
