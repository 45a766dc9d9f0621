"""An arm as one module: an embedding collection plus towers, for R replicas at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torchrec.modules.embedding_configs import EmbeddingBagConfig
from torchrec.sparse.jagged_tensor import KeyedTensor

from recsys.arms import ArmConfig, Group, Logits
from recsys.config import ModelConfig
from recsys.data.batch import Batch
from recsys.data.schema import Schema
from recsys.embeddings import initialise_table, table_configs, table_name
from recsys.models.registry import MODELS
from recsys.models.shape import Shape
from recsys.seeds import Seeds, component_path, torch_generator

EmbeddingFactory = Callable[[list[EmbeddingBagConfig]], nn.Module]
"""Makes a TorchRec collection (``KeyedJaggedTensor → KeyedTensor``) of tables."""


class Towers(nn.Module):
    """The towers of all groups, ``R x K`` of them in each."""

    def __init__(
        self,
        groups: Sequence[Group],
        schema: Schema,
        model: ModelConfig,
        seeds: Sequence[Seeds],
    ) -> None:
        super().__init__()
        self._groups = tuple(groups)
        self._replicas = len(seeds)
        self._features = len(schema.sparse)
        self.towers = nn.ModuleDict(
            {
                group.name: MODELS[model.name](
                    _shape(group, schema, model),
                    [
                        torch_generator(*component_path(one, group.name, tower), "tower")
                        for one in seeds
                        for tower in range(group.towers)
                    ],
                )
                for group in groups
            }
        )

    def forward(self, dense: Tensor, embedded: KeyedTensor) -> Logits:
        """Return each group's logits ``(R, K, B, heads)`` from dense features ``(R, B, D)``."""
        columns = embedded.values().split(
            [
                self._replicas * group.table_sets * self._features * group.embedding_dim
                for group in self._groups
            ],
            dim=1,
        )
        return {
            group.name: self._logits(group, dense, part)
            for group, part in zip(self._groups, columns, strict=True)
        }

    def _logits(self, group: Group, dense: Tensor, columns: Tensor) -> Tensor:
        replicas, batch, _ = dense.shape
        sets = columns.view(
            batch, replicas, group.table_sets, self._features, group.embedding_dim
        ).permute(1, 2, 0, 3, 4)
        towers = sets.expand(-1, group.towers, -1, -1, -1)
        dense = dense.unsqueeze(1).expand(-1, group.towers, -1, -1)
        logits = self.towers[group.name](dense.flatten(0, 1), towers.flatten(0, 1))
        return logits.unflatten(0, (replicas, group.towers))


class Arm(nn.Module):
    """R replicas of an arm: ``.embeddings`` (all their tables) and ``.dense`` (all their towers).

    Args:
        config: which of the six arms, and its options.
        model: the shape of a component.
        schema: the features.
        seeds: one for each of the R replicas.
        make_embeddings: how the engine holds tables.
        groups: which groups of towers; by default all that ``config`` trains.
    """

    def __init__(
        self,
        config: ArmConfig,
        model: ModelConfig,
        schema: Schema,
        seeds: Sequence[Seeds],
        make_embeddings: EmbeddingFactory,
        groups: Sequence[Group] | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.model = model
        self.schema = schema
        self.seeds = tuple(seeds)
        self.groups = tuple(config.layout(model.embedding_dim) if groups is None else groups)
        self.tables = table_configs(self.groups, schema, model, len(seeds))
        self.embeddings = make_embeddings(self.tables)
        self.dense = Towers(self.groups, schema, model, seeds)
        self._initialise_tables()

    def forward(self, batch: Batch) -> Logits:
        """Return each group's logits ``(R, K, B, heads)``."""
        return self.dense(batch.dense, self.embeddings(batch.sparse))

    def table(self, replica: int, group: str, table_set: int, feature: str) -> Tensor:
        """Return the rows of one table, ``(cardinality, embedding_dim)``."""
        name = table_name(replica, group, table_set, feature)
        return self.embeddings.embedding_bags[name].weight

    def _initialise_tables(self) -> None:
        for group in self.groups:
            for replica, seeds in enumerate(self.seeds):
                for table_set in range(group.table_sets):
                    path = component_path(seeds, group.name, table_set)
                    for feature in self.schema.sparse:
                        initialise_table(
                            self.table(replica, group.name, table_set, feature.name),
                            torch_generator(*path, "table", feature.name),
                        )


def served_part(arm: Arm, make_embeddings: EmbeddingFactory, replicas: Sequence[int]) -> Arm:
    """Return what answers requests, for some replicas: the served towers and their tables alone.

    Weights are copied. The result's ``forward`` gives the served group only, its towers in the
    order of ``arm.config.served.towers``; the mean over them is what is served.
    """
    served = arm.config.served
    (group,) = (one for one in arm.groups if one.name == served.group)
    shared = group.table_sets == 1
    part = Arm(
        arm.config,
        arm.model,
        arm.schema,
        [arm.seeds[replica] for replica in replicas],
        make_embeddings,
        groups=[
            replace(
                group,
                towers=len(served.towers),
                table_sets=1 if shared else len(served.towers),
            )
        ],
    )
    part.dense.to(next(arm.dense.parameters()).device)
    copy_group(arm, part, served.group, towers=served.towers, replicas=replicas)
    return part.eval()


@torch.no_grad()
def copy_group(
    source: Arm, target: Arm, name: str, *, towers: Sequence[int], replicas: Sequence[int]
) -> None:
    """Copy towers of a group and the tables they read, of some replicas, to a smaller arm.

    The target's group holds just these towers of just these replicas, in this order.
    """
    (group,) = (one for one in source.groups if one.name == name)
    parameters = dict(source.dense.towers[name].named_parameters())
    stacked = torch.tensor(
        [replica * group.towers + tower for replica in replicas for tower in towers]
    )
    for path, parameter in target.dense.towers[name].named_parameters():
        parameter.copy_(parameters[path][stacked.to(parameter.device)])
    table_sets = (0,) if group.table_sets == 1 else towers
    for to_replica, replica in enumerate(replicas):
        for to_set, table_set in enumerate(table_sets):
            for feature in source.schema.sparse:
                target.table(to_replica, name, to_set, feature.name).copy_(
                    source.table(replica, name, table_set, feature.name)
                )


def served_logits(part: Arm, batch: Batch) -> Tensor:
    """Return the logits that a served part answers with, ``(R, B)``."""
    served = part.config.served
    return part(batch)[served.group][..., served.head].mean(1)


@torch.no_grad()
def without_gradient(arm: Arm, batch: Batch) -> Logits:
    """Return the logits of all groups, ``(R, K, B, heads)`` each, outside of training."""
    return arm(batch)


def _shape(group: Group, schema: Schema, model: ModelConfig) -> Shape:
    return Shape(
        sparse_features=len(schema.sparse),
        dense_features=len(schema.dense),
        embedding_dim=group.embedding_dim,
        hidden=model.hidden,
        bottom=model.bottom,
        heads=group.heads,
        activation=group.activation,
        layer_norm=model.layer_norm,
    )
