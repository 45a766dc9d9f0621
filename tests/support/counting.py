"""A model whose weights count examples: its gradient depends on an example's label alone.

Its logit is 0 whatever the weights are, so that cross-entropy has the gradient (1/2 − label) / B at
every weight that an example touches. With SGD at a learning rate of 2 B, every example adds 1 to
the rows that it reads if it is a click, −1 if not: small whole numbers, exact in float32.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torchrec.modules.embedding_configs import EmbeddingBagConfig, PoolingType
from torchrec.modules.embedding_modules import EmbeddingBagCollection
from torchrec.sparse.jagged_tensor import KeyedTensor

from distrib.parameter_store.shard import digest
from recsys.data.click_log import ClickLog
from recsys.data.schema import Schema
from tests.support.logs import bag_of

WIDTH = 4
WEIGHTS = 3


class Counting(nn.Module):
    """Tables and weights that begin at 0."""

    def __init__(self, embeddings: EmbeddingBagCollection) -> None:
        super().__init__()
        self.embeddings = embeddings
        self.dense = Zero()


class Zero(nn.Module):
    """Answers 0, with gradient 1 at everything."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(WEIGHTS))

    def forward(self, dense: Tensor, embedded: KeyedTensor) -> Tensor:
        total = embedded.values().sum(1) + self.weight.sum()
        return total - total.detach()


def counting(schema: Schema) -> Counting:
    """Return the model over all features of a schema."""
    embeddings = EmbeddingBagCollection(
        tables=[
            EmbeddingBagConfig(
                name=feature.name,
                num_embeddings=feature.cardinality,
                embedding_dim=WIDTH,
                feature_names=[feature.name],
                pooling=PoolingType.SUM,
            )
            for feature in schema.sparse
        ]
    )
    for bag in embeddings.embedding_bags.values():
        nn.init.zeros_(bag.weight)
    return Counting(embeddings)


def counting_fields(batch_size: int, epochs: int, **engine: object) -> dict[str, object]:
    """Return the fields of a recipe that counts."""
    return {
        "arm": {"kind": "single"},
        "model": {"name": "tests.support.counting:counting"},
        "optimizer": {
            "sparse": "sgd",
            "dense": "sgd",
            "sparse_learning_rate": 2 * batch_size,
            "dense_learning_rate": 2 * batch_size,
        },
        "stream": {"batch_size": batch_size, "epochs": epochs, "shuffle": 50},
        "evaluation": {"points": 1, "progress_examples": 20},
        "engine": {"device": "cpu", **engine},
    }


def counts(log: ClickLog, epochs: int) -> dict[str, npt.NDArray[np.float32]]:
    """Return every tensor after each training example counted ``epochs`` times."""
    rows = np.asarray(log.splits["train"])
    signs = epochs * (2 * log.label[rows] - 1)
    found = {}
    column = 0
    for feature in log.schema.sparse:
        table = np.zeros((feature.cardinality, WIDTH), np.float32)
        for row, sign in zip(rows, signs, strict=True):
            read = bag_of(log, feature.name, row) if feature.multi_valued else log.ids[row, column]
            np.add.at(table, read, sign)
        column += not feature.multi_valued
        found[feature.name] = table
    found["dense"] = np.full(WEIGHTS, signs.sum(), np.float32)
    return found


def counted(log: ClickLog, epochs: int) -> dict[str, str]:
    """Return the digests of what ``counts`` returns."""
    return {name: digest(tensor) for name, tensor in counts(log, epochs).items()}


def by_table(digests: dict[str, str]) -> dict[str, str]:
    """Return the digests of a recording by table, or ``dense``, as ``counted`` names them."""
    parts = {tuple(name.split("/")): value for name, value in digests.items()}
    return {"dense" if name[0] == "dense" else name[2]: value for name, value in parts.items()}
