"""Functions that a user could name by mistake: each makes something that is no component."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchrec.modules.embedding_configs import DataType, EmbeddingBagConfig
from torchrec.modules.embedding_modules import EmbeddingBagCollection

from recsys.data.schema import Schema
from tests.support.custom_model import SideBySide, TwoPart, small

NUMBER = 3


def returns_nothing(schema: Schema) -> None:
    """Forget to return."""


def lacks_tables(schema: Schema) -> nn.Module:
    """Return a network without tables."""
    return SideBySide(nn.Linear(2, 1))


def weighted(schema: Schema) -> nn.Module:
    """Want weights for the members of bags."""
    tables = small(schema).embeddings.embedding_bag_configs()
    return TwoPart(EmbeddingBagCollection(tables=tables, is_weighted=True), nn.Linear(2, 1))


def lacks_network(schema: Schema) -> nn.Module:
    """Leave ``.dense`` open."""
    return TwoPart(small(schema).embeddings, None)


def misspells_feature(schema: Schema) -> nn.Module:
    """Read a feature that is called otherwise."""
    return _with_table(feature=f"{schema.sparse[0].name}x")


def too_few_rows(schema: Schema) -> nn.Module:
    """Make a table smaller than the feature's cardinality."""
    return _with_table(feature=schema.sparse[0].name, rows=3)


def odd_width(schema: Schema) -> nn.Module:
    """Make a table six columns wide."""
    return _with_table(feature=schema.sparse[0].name, width=6)


def half_precision(schema: Schema) -> nn.Module:
    """Make a table of 16-bit numbers."""
    return _with_table(feature=schema.sparse[0].name, data_type=DataType.FP16)


def nothing_to_train(schema: Schema) -> nn.Module:
    """Return a network without parameters."""
    return TwoPart(small(schema).embeddings, SideBySide(nn.Identity()))


def lazy(schema: Schema) -> nn.Module:
    """Leave a shape to the first batch."""
    return TwoPart(small(schema).embeddings, SideBySide(nn.LazyLinear(1)))


def two_logits(schema: Schema) -> nn.Module:
    """Return two logits for each example."""
    width = len(schema.dense) + 4 * len(schema.sparse)
    return TwoPart(small(schema).embeddings, SideBySide(nn.Linear(width, 2)))


class Squeezing(nn.Module):
    """Loses the batch where it has one example."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out = nn.Linear(width, 1)

    def forward(self, features: Tensor) -> Tensor:
        return self.out(features).squeeze()


def squeezes(schema: Schema) -> nn.Module:
    """Use ``squeeze()`` where ``squeeze(1)`` is meant."""
    width = len(schema.dense) + 4 * len(schema.sparse)
    return TwoPart(small(schema).embeddings, SideBySide(Squeezing(width)))


class Functional(nn.Module):
    """Calls an activation in its code, where it cannot be replaced."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, 4)
        self.out = nn.Linear(4, 1)

    def forward(self, features: Tensor) -> Tensor:
        return self.out(F.relu(self.hidden(features)))


def functional(schema: Schema) -> nn.Module:
    """Return a network with a functional activation."""
    width = len(schema.dense) + 4 * len(schema.sparse)
    return TwoPart(small(schema).embeddings, SideBySide(Functional(width)))


def gelu(schema: Schema) -> nn.Module:
    """Return a network with another activation than ReLU."""
    made = small(schema)
    made.dense.network[1] = nn.GELU()
    return made


def _with_table(
    *, feature: str, rows: int = 1000, width: int = 4, data_type: DataType = DataType.FP32
) -> nn.Module:
    table = EmbeddingBagConfig(
        name="t",
        num_embeddings=rows,
        embedding_dim=width,
        feature_names=[feature],
        data_type=data_type,
    )
    return TwoPart(EmbeddingBagCollection(tables=[table]), nn.Linear(2, 1))


def on_meta(schema: Schema) -> nn.Module:
    """Return tables that take no memory yet: this one is right."""
    made = small(schema)
    tables = made.embeddings.embedding_bag_configs()
    for table in tables:
        table.init_fn = nn.init.normal_
    made.embeddings = EmbeddingBagCollection(tables=tables, device=torch.device("meta"))
    return made
