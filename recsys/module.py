"""An arm as one module: an embedding collection plus towers, for R replicas at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torchrec.modules.embedding_configs import EmbeddingBagConfig
from torchrec.sparse.jagged_tensor import KeyedTensor

from recsys.arms import ArmConfig, Group, Logits
from recsys.data.batch import Batch
from recsys.data.schema import Schema
from recsys.embeddings import Columns, table_configs, table_name
from recsys.models.blueprint import Blueprint
from recsys.models.config import ModelConfig
from recsys.models.registry import blueprints
from recsys.seeds import Seeds, component_path

EmbeddingFactory = Callable[[list[EmbeddingBagConfig]], nn.Module]
"""Makes a TorchRec collection (``KeyedJaggedTensor → KeyedTensor``) of tables."""


class Towers(nn.Module):
    """The towers of all groups, ``R x K`` in each."""

    def __init__(
        self,
        groups: Sequence[Group],
        blueprints: Mapping[str, Blueprint],
        tables: Sequence[EmbeddingBagConfig],
        seeds: Sequence[Seeds],
    ) -> None:
        super().__init__()
        self._groups = tuple(groups)
        self._replicas = len(seeds)
        self.columns, self.towers = nn.ModuleDict(), nn.ModuleDict()
        for group in groups:
            self.columns[group.name] = Columns(
                tables,
                [
                    table_name(replica, group.name, table_set, table.name)
                    for replica in range(len(seeds))
                    for table_set in range(group.table_sets)
                    for table in blueprints[group.name].tables
                ],
            )
            self.towers[group.name] = blueprints[group.name].towers(
                [
                    component_path(one, group.name, tower)
                    for one in seeds
                    for tower in range(group.towers)
                ]
            )

    def forward(self, dense: Tensor, embedded: KeyedTensor) -> Logits:
        """Return each group's logits ``(R, K, B, heads)`` from dense features ``(R, B, D)``."""
        return self.over_columns(dense, embedded.values())

    def over_columns(self, dense: Tensor, columns: Tensor) -> Logits:
        """Return the same from the concatenated output of the collection, ``(B, all columns)``."""
        return {
            group.name: self._logits(group, dense, self.columns[group.name](columns))
            for group in self._groups
        }

    def _logits(self, group: Group, dense: Tensor, columns: Tensor) -> Tensor:
        replicas = self._replicas
        sets = columns.unflatten(1, (replicas, group.table_sets, -1)).permute(1, 2, 0, 3)
        embedded = sets.expand(-1, group.towers, -1, -1)
        dense = dense.unsqueeze(1).expand(-1, group.towers, -1, -1)
        logits = self.towers[group.name](dense.flatten(0, 1), embedded.flatten(0, 1))
        return logits.unflatten(0, (replicas, group.towers))


class Arm(nn.Module):
    """R replicas of an arm: ``.embeddings`` (all their tables) and ``.dense`` (all their towers).

    Args:
        config: the arm and its options.
        model: the shape of a component.
        schema: the features.
        seeds: one for each of the R replicas.
        make_embeddings: makes the collection of tables; tables on the meta device stay there.
        groups: the groups of towers; by default all that ``config`` trains.
    """

    embeddings: Any

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
        self.blueprints = blueprints(self.groups, model, schema)
        self.tables = table_configs(self.groups, self.blueprints, len(seeds))
        self.embeddings = make_embeddings(self.tables)
        self.dense = Towers(self.groups, self.blueprints, self.tables, seeds)
        self._initialise_tables()

    def forward(self, batch: Batch) -> Logits:
        """Return each group's logits ``(R, K, B, heads)``."""
        return self.dense(batch.dense, self.embeddings(batch.sparse))

    def table(self, replica: int, group: str, table_set: int, name: str) -> Tensor:
        """Return the rows of one table, ``(rows, embedding_dim)``.

        ``name`` is its name within the set; in a built-in model, that of its feature.
        """
        whole_name = table_name(replica, group, table_set, name)
        return self.embeddings.embedding_bags[whole_name].weight

    def table_set(self, replica: int, group: str, table_set: int) -> dict[str, Tensor]:
        """Return the tables of one set by their names within it."""
        return {
            table.name: self.table(replica, group, table_set, table.name)
            for table in self.blueprints[group].tables
        }

    def _initialise_tables(self) -> None:
        if all(bag.weight.is_meta for bag in self.embeddings.embedding_bags.values()):
            return
        for group in self.groups:
            for replica, seeds in enumerate(self.seeds):
                for table_set in range(group.table_sets):
                    path = component_path(seeds, group.name, table_set)
                    rows = self.table_set(replica, group.name, table_set)
                    for name, start in self.blueprints[group.name].initial_rows(path):
                        rows[name].detach().copy_(start)


def served_group(config: ArmConfig, groups: Sequence[Group]) -> Group:
    """Return the served group, reduced to the served towers and their tables."""
    served = config.served
    (group,) = (one for one in groups if one.name == served.group)
    towers = len(served.towers)
    return replace(group, towers=towers, table_sets=1 if group.table_sets == 1 else towers)


def served_part(arm: Arm, make_embeddings: EmbeddingFactory, replicas: Sequence[int]) -> Arm:
    """Return a copy of the served towers and tables of some replicas.

    Its ``forward`` returns the served group only, with the towers in the order of
    ``arm.config.served.towers``.
    """
    served = arm.config.served
    part = Arm(
        arm.config,
        arm.model,
        arm.schema,
        [arm.seeds[replica] for replica in replicas],
        make_embeddings,
        groups=[served_group(arm.config, arm.groups)],
    )
    part.dense.to(next(arm.dense.parameters()).device)
    copy_group(arm, part, served.group, towers=served.towers, replicas=replicas)
    return part.eval()


@torch.no_grad()
def copy_group(
    source: Arm, target: Arm, name: str, *, towers: Sequence[int], replicas: Sequence[int]
) -> None:
    """Copy towers of a group, with their tables, of some replicas to a smaller arm.

    The target's group holds exactly these towers of these replicas, in this order.
    """
    (group,) = (one for one in source.groups if one.name == name)
    weights = source.dense.towers[name].state_dict()
    stacked = torch.tensor(
        [replica * group.towers + tower for replica in replicas for tower in towers]
    )
    for path, weight in target.dense.towers[name].state_dict().items():
        weight.copy_(weights[path][stacked.to(weight.device)])
    table_sets = (0,) if group.table_sets == 1 else towers
    for to_replica, replica in enumerate(replicas):
        for to_set, table_set in enumerate(table_sets):
            tables = source.table_set(replica, name, table_set)
            for table, rows in target.table_set(to_replica, name, to_set).items():
                rows.copy_(tables[table])


def served_logits(part: Arm, batch: Batch) -> Tensor:
    """Return the served logits of a served part, ``(R, B)``."""
    served = part.config.served
    return part(batch)[served.group][..., served.head].mean(1)


@contextmanager
def evaluating(arm: Arm) -> Iterator[None]:
    """Put an arm into evaluation mode inside the block."""
    before = arm.training
    arm.eval()
    try:
        yield
    finally:
        arm.train(before)


@torch.no_grad()
def without_gradient(arm: Arm, batch: Batch) -> Logits:
    """Return the logits of all groups, ``(R, K, B, heads)`` each, in evaluation mode."""
    with evaluating(arm):
        return arm(batch)
