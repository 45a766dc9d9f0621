"""Stacked networks: n networks of one shape run as one batched product."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from recsys.activations import get_activation


def stacked_uniform(
    generators: Sequence[torch.Generator], shape: tuple[int, ...], bound: float
) -> nn.Parameter:
    """Return a parameter ``(n, *shape)``, part i uniform in ``±bound`` from generator i."""
    parts = [(torch.rand(shape, generator=one) * 2 - 1) * bound for one in generators]
    return nn.Parameter(torch.stack(parts))


class StackedLinear(nn.Module):
    """n linear layers.

    Input ``(n, B, in_features)``, output ``(n, B, out_features)``. Weights start as
    ``torch.nn.Linear`` starts them, uniform in ``±1/sqrt(in_features)``, layer i from generator i.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        generators: Sequence[torch.Generator],
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        bound = 1 / math.sqrt(in_features)
        self.weight = stacked_uniform(generators, (in_features, out_features), bound)
        self.bias = stacked_uniform(generators, (1, out_features), bound) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        if self.weight.shape[-1] == 1:
            # For n = 1, a product with one column uses another kernel, so a replica trained alone
            # would round differently from the same replica in a stack.
            column = (x * self.weight.transpose(1, 2)).sum(-1, keepdim=True)
            return column if self.bias is None else column + self.bias
        if self.bias is None:
            return torch.bmm(x, self.weight)
        return torch.baddbmm(self.bias, x, self.weight)


class StackedLayerNorm(nn.Module):
    """Layer norm over the last dimension with a gain and a bias for each of n towers."""

    def __init__(self, towers: int, features: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(towers, 1, features))
        self.bias = nn.Parameter(torch.zeros(towers, 1, features))

    def forward(self, x: Tensor) -> Tensor:
        normal = nn.functional.layer_norm(x, x.shape[-1:])
        return torch.addcmul(self.bias, normal, self.gain)


class StackedMLP(nn.Module):
    """n multilayer perceptrons: ``(n, B, widths[0])`` to ``(n, B, widths[-1])``.

    Each layer is linear, optional layer norm, activation; the last one is linear only, unless
    ``activate_last``.
    """

    def __init__(
        self,
        widths: Sequence[int],
        generators: Sequence[torch.Generator],
        *,
        activation: str,
        layer_norm: bool,
        activate_last: bool = False,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i, (fan_in, fan_out) in enumerate(pairwise(widths)):
            layers.append(StackedLinear(fan_in, fan_out, generators))
            if i < len(widths) - 2 or activate_last:
                if layer_norm:
                    layers.append(StackedLayerNorm(len(generators), fan_out))
                layers.append(get_activation(activation))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)
