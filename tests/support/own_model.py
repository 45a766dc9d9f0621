"""Models as users write them, named in configurations as ``tests.support.own_model:...``."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchrec.modules.embedding_configs import EmbeddingBagConfig, PoolingType
from torchrec.modules.embedding_modules import EmbeddingBagCollection
from torchrec.sparse.jagged_tensor import KeyedTensor

from recsys.data.schema import Schema


def tables(schema: Schema, embedding_dim: int = 4) -> EmbeddingBagCollection:
    """Return a table for each feature."""
    return EmbeddingBagCollection(
        tables=[
            EmbeddingBagConfig(
                name=f"t_{feature.name}",
                num_embeddings=feature.cardinality,
                embedding_dim=embedding_dim,
                feature_names=[feature.name],
                pooling=PoolingType.MEAN,
            )
            for feature in schema.sparse
        ]
    )


class TwoPart(nn.Module):
    """The form that Soloist asks for."""

    def __init__(self, embeddings: EmbeddingBagCollection, dense: nn.Module) -> None:
        super().__init__()
        self.embeddings = embeddings
        self.dense = dense


class Wide(nn.Module):
    """A network over everything side by side."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, dense: Tensor, embedded: KeyedTensor) -> Tensor:
        return self.network(torch.cat((dense, embedded.values()), 1))


def small(schema: Schema, *, embedding_dim: int = 4, hidden: int = 6) -> TwoPart:
    """A small network with ``nn.ReLU``, which Soloist replaces by the arm's activation."""
    width = len(schema.dense) + embedding_dim * len(schema.sparse)
    network = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, 1))
    return TwoPart(tables(schema, embedding_dim), Wide(network))
