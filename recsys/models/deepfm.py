"""DeepFM: a factorisation machine beside a tower (Guo et al. 2017, arXiv 1703.04247)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recsys.models.config import DeepFMConfig
from recsys.models.shape import Shape
from recsys.towers import StackedMLP, stacked_uniform


class DeepFM(nn.Module):
    """First-order weights, dot products of all pairs of fields, and a tower over all vectors.

    The paper keeps first-order weights in a table one column wide. Here a row's last column is
    its first-order weight and the others are its vector, so that one lookup a feature serves all
    three parts; a second table would double the lookups, and FBGEMM would make it four columns
    wide. A multi-valued feature is one field, its rows pooled as the tables pool them. Dense
    feature j takes part with learned rows of its own, scaled by its value.

    Two heads share the first and second order; each has an output of the tower to itself.

    ``dense`` is ``(n, B, D)``, ``embedded`` ``(n, B, T x E)``; returns logits ``(n, B, heads)``.
    """

    def __init__(
        self, config: DeepFMConfig, shape: Shape, generators: Sequence[torch.Generator]
    ) -> None:
        super().__init__()
        self._embedding_dim = shape.embedding_dim
        self.dense_rows = None
        if shape.dense_features:
            self.dense_rows = stacked_uniform(
                generators,
                (shape.dense_features, shape.embedding_dim),
                # As a table with a row for each dense feature would start.
                shape.dense_features**-0.5,
            )
        fields = shape.sparse_features + shape.dense_features
        self.tower = StackedMLP(
            (fields * (shape.embedding_dim - 1), *config.hidden, shape.heads),
            generators,
            activation=shape.activation,
            layer_norm=config.layer_norm,
        )

    def forward(self, dense: Tensor, embedded: Tensor) -> Tensor:
        fields = embedded.unflatten(2, (-1, self._embedding_dim))
        if self.dense_rows is not None:
            fields = torch.cat((fields, dense.unsqueeze(3) * self.dense_rows.unsqueeze(1)), 2)
        vectors, weights = fields[..., :-1], fields[..., -1]
        # The sum over pairs is half of the square of the sum less the sum of squares (Rendle 2010).
        pairs = 0.5 * (vectors.sum(2).square() - vectors.square().sum(2)).sum(-1)
        machine = weights.sum(-1) + pairs
        return self.tower(vectors.flatten(2)) + machine.unsqueeze(-1)
