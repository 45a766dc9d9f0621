"""DCNv2: crosses of features in low rank (Wang et al. 2020, arXiv 2008.13535)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recsys.models.config import DCNv2Config
from recsys.models.shape import Shape
from recsys.towers import StackedLinear, StackedMLP


class StackedCross(nn.Module):
    """n low-rank cross layers side by side: ``x0 * (U V^T x + b) + x``.

    ``x0`` and ``x`` are ``(n, B, features)``, and so is the result; U and V are
    ``(features, rank)`` for each of the n. Wang et al. 2020, equation 2.
    """

    def __init__(self, features: int, rank: int, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        self.v = StackedLinear(features, rank, generators, bias=False)
        self.u = StackedLinear(rank, features, generators)

    def forward(self, x0: Tensor, x: Tensor) -> Tensor:
        return torch.addcmul(x, x0, self.u(self.v(x)))


class DCNv2(nn.Module):
    """Cross layers over all features, before a tower (stacked) or beside one (parallel).

    Stacked, the tower reads the last cross and gives the logits. Parallel, it reads the features,
    and one affine map reads its last hidden layer beside the last cross (figure 1 of the paper).

    ``dense`` is ``(n, B, D)``, ``embedded`` ``(n, B, T x E)``; returns logits ``(n, B, heads)``.
    """

    def __init__(
        self, config: DCNv2Config, shape: Shape, generators: Sequence[torch.Generator]
    ) -> None:
        super().__init__()
        features = shape.sparse_features * shape.embedding_dim + shape.dense_features
        self.crosses = nn.ModuleList(
            StackedCross(features, config.rank, generators) for _ in range(config.cross_layers)
        )
        stacked = config.structure == "stacked"
        widths = (features, *config.hidden)
        self.tower = StackedMLP(
            (*widths, shape.heads) if stacked else widths,
            generators,
            activation=shape.activation,
            layer_norm=config.layer_norm,
            activate_last=not stacked,
        )
        self.head = None
        if not stacked:
            self.head = StackedLinear(features + widths[-1], shape.heads, generators)

    def forward(self, dense: Tensor, embedded: Tensor) -> Tensor:
        features = crossed = torch.cat((embedded, dense), -1)
        for cross in self.crosses:
            crossed = cross(features, crossed)
        if self.head is None:
            return self.tower(crossed)
        return self.head(torch.cat((crossed, self.tower(features)), -1))
