"""MLP: embedded and dense features side by side, through one tower."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recsys.models.config import MLPConfig
from recsys.models.shape import Shape
from recsys.towers import StackedMLP


class MLP(nn.Module):
    """n towers over the concatenation of all features.

    ``dense`` is ``(n, B, D)``, ``embedded`` ``(n, B, T x E)``; returns logits ``(n, B, heads)``.
    """

    def __init__(
        self, config: MLPConfig, shape: Shape, generators: Sequence[torch.Generator]
    ) -> None:
        super().__init__()
        fan_in = shape.sparse_features * shape.embedding_dim + shape.dense_features
        self.tower = StackedMLP(
            (fan_in, *config.hidden, shape.heads),
            generators,
            activation=shape.activation,
            layer_norm=config.layer_norm,
        )

    def forward(self, dense: Tensor, embedded: Tensor) -> Tensor:
        return self.tower(torch.cat((embedded, dense), -1))
