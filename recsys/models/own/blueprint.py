"""Components that a user's function makes.

What it returns has ``.embeddings``, a TorchRec ``EmbeddingBagCollection`` over features of the
schema, and ``.dense``, a module that takes dense features ``(B, D)`` and the ``KeyedTensor`` of the
embeddings and returns logits ``(B,)`` or ``(B, 1)``. docs/own-model.md says it to the user.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torchrec.modules.embedding_configs import EmbeddingBagConfig
from torchrec.modules.embedding_modules import get_embedding_names_by_table
from torchrec.sparse.jagged_tensor import KeyedTensor

from recsys.arms import Group
from recsys.data.schema import Schema
from recsys.embeddings import columns_of
from recsys.errors import ConfigError
from recsys.models.blueprint import SeedPath
from recsys.models.config import OwnConfig
from recsys.models.own.checks import Component, check_logits, checked
from recsys.models.own.factory import Factory, keywords, load_factory
from recsys.models.own.stacking import Stacking, find_stacking
from recsys.models.stacked import Stacked
from recsys.replace import replace_activations, unseen_activations
from recsys.seeds import global_draws, torch_generator

_TRIAL_EXAMPLES = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Maker:
    """Calls the user's function: the same path makes the same weights, and no other draws change.

    The function has to draw from PyTorch's global generator, as all of PyTorch does by default.
    """

    config: OwnConfig
    schema: Schema
    factory: Factory
    keywords: Mapping[str, Any]
    activation: str

    def component(self, path: SeedPath) -> Component:
        """Return what the function makes, with the arm's activation.

        Raises:
            ConfigError: it is no component, or its activation cannot be replaced.
        """
        with global_draws(*path, "own"):
            made = self.factory(self.schema, **self.keywords)
        component = checked(self.config.name, made, self.schema)
        if "activation" not in self.keywords and self.activation != self.config.replaces:
            self._replace_activations(component.dense)
        return component

    def network(self, path: SeedPath) -> nn.Module:
        """Return a component's dense part over columns ``(B, C)`` in place of a KeyedTensor."""
        made = self.component(path)
        return _OverColumns(made.dense, made.tables)

    def _replace_activations(self, dense: nn.Module) -> None:
        old = self.config.replaces
        unseen = unseen_activations(dense, old)
        if not unseen and replace_activations(dense, old, self.activation):
            return
        what = f"cannot replace {unseen[0]}" if unseen else f"finds no {old} in .dense to replace"
        raise ConfigError(
            f"model {self.config.name}: activation {self.activation} {what}; expected modules of "
            "it (model.replaces says of which), or a function that takes activation"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnBlueprint:
    """Components that a user's function makes, and how their dense parts run together."""

    maker: Maker
    tables: tuple[EmbeddingBagConfig, ...]
    stacking: Stacking

    def initial_rows(self, path: SeedPath) -> Iterator[tuple[str, Tensor]]:
        """Yield rows as the function made them; a table without memory (meta) is made here."""
        made = self.maker.component(path).embeddings.embedding_bags
        for table in self.tables:
            start = made[table.name].weight.detach()
            if start.is_meta:
                start = torch.empty_like(start, device="cpu")
                with global_draws(*path, "table", table.name):
                    table.init_fn(start)
            yield table.name, start

    def towers(self, paths: Sequence[SeedPath]) -> nn.Module:
        networks = [self.maker.network(path) for path in paths]
        return Stacked(
            networks,
            vectorised=self.stacking.vectorised,
            draws=paths if self.stacking.draws else None,
        )


def own_blueprint(config: OwnConfig, schema: Schema, group: Group) -> OwnBlueprint:
    """Return what a component of ``group`` is made of, tried out on a few examples.

    Raises:
        ConfigError: there is no such function, or what it makes cannot be a component.
    """
    factory = load_factory(config.name)
    maker = Maker(
        config=config,
        schema=schema,
        factory=factory,
        keywords=keywords(factory, config, schema, group),
        activation=group.activation,
    )
    tables = maker.component(("trial", 0)).tables
    networks = [maker.network(("trial", number)) for number in range(2)]
    numbers = torch_generator("trial")
    dense = torch.rand(_TRIAL_EXAMPLES, len(schema.dense), generator=numbers)
    embedded = torch.rand(_TRIAL_EXAMPLES, sum(map(columns_of, tables)), generator=numbers)
    with torch.no_grad():
        for examples in (_TRIAL_EXAMPLES, 1):
            logits = networks[0].eval()(dense[:examples], embedded[:examples])
            check_logits(config.name, logits, examples=examples, heads=group.heads)
    return OwnBlueprint(
        maker=maker,
        tables=tables,
        stacking=find_stacking(config.name, networks, dense, embedded),
    )


class _OverColumns(nn.Module):
    """Hands a dense part its embeddings as the collection over these tables would."""

    def __init__(self, dense: nn.Module, tables: Sequence[EmbeddingBagConfig]) -> None:
        super().__init__()
        self.dense = dense
        self._keys = list(chain(*get_embedding_names_by_table(list(tables))))
        self._widths = [table.embedding_dim for table in tables for _ in table.feature_names]

    def forward(self, dense: Tensor, columns: Tensor) -> Tensor:
        embedded = KeyedTensor(keys=self._keys, length_per_key=self._widths, values=columns)
        return self.dense(dense, embedded)
