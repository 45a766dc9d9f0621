"""DLRM: dot products between features, through a tower (Naumov et al. 2019, arXiv 1906.00091)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recsys.models.config import DLRMConfig
from recsys.models.shape import Shape
from recsys.towers import StackedMLP


class DLRM(nn.Module):
    """A bottom tower embeds the dense features; all pairs of vectors meet in a dot product.

    ``dense`` is ``(n, B, D)``, ``embedded`` ``(n, B, T x E)``; returns logits ``(n, B, heads)``.
    Without dense features there is no bottom tower, and the pairs of embedded features alone
    (beside the vectors' own values) feed the top tower.
    """

    def __init__(
        self, config: DLRMConfig, shape: Shape, generators: Sequence[torch.Generator]
    ) -> None:
        super().__init__()
        self._embedding_dim = shape.embedding_dim
        self.bottom: StackedMLP | None = None
        vectors = shape.sparse_features
        passed_on = shape.sparse_features * shape.embedding_dim
        if shape.dense_features:
            self.bottom = StackedMLP(
                (shape.dense_features, *config.bottom, shape.embedding_dim),
                generators,
                activation=shape.activation,
                layer_norm=config.layer_norm,
                activate_last=True,
            )
            vectors += 1
            passed_on = shape.embedding_dim
        pairs = torch.tril_indices(vectors, vectors, offset=-1)
        self.register_buffer("pairs", pairs[0] * vectors + pairs[1], persistent=False)
        self.top = StackedMLP(
            (passed_on + pairs.shape[1], *config.hidden, shape.heads),
            generators,
            activation=shape.activation,
            layer_norm=config.layer_norm,
        )

    def forward(self, dense: Tensor, embedded: Tensor) -> Tensor:
        vectors = embedded.unflatten(2, (-1, self._embedding_dim))
        passed_on = embedded
        if self.bottom is not None:
            passed_on = self.bottom(dense)
            vectors = torch.cat((passed_on.unsqueeze(2), vectors), 2)
        products = vectors @ vectors.transpose(2, 3)
        interactions = products.flatten(2).index_select(2, self.pairs)
        return self.top(torch.cat((passed_on, interactions), -1))
