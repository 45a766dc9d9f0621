"""MLP: embedded and dense features side by side, through one tower."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recsys.models.shape import Shape
from recsys.towers import StackedMLP


class MLP(nn.Module):
    """n towers over the concatenation of all features.

    ``dense`` is ``(n, B, D)``, ``embedded`` ``(n, B, T, E)``; returns logits ``(n, B, heads)``.
    """

    def __init__(self, shape: Shape, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        fan_in = shape.sparse_features * shape.embedding_dim + shape.dense_features
        self.tower = StackedMLP(
            (fan_in, *shape.hidden, shape.heads),
            generators,
            activation=shape.activation,
            layer_norm=shape.layer_norm,
        )

    def forward(self, dense: Tensor, embedded: Tensor) -> Tensor:
        features = embedded.flatten(2)
        if dense.shape[-1]:
            features = torch.cat((features, dense), -1)
        return self.tower(features)
