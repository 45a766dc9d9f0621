"""What tests of activations share: names, points, slopes, and gradients."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from recsys.activations import ACTIVATION_NAMES

BETAS = st.floats(min_value=1e-3, max_value=1e3)
POINTS = st.floats(min_value=-50.0, max_value=50.0)
SLOPES = st.floats(min_value=-2.0, max_value=2.0)
SMOOTH = (
    "smelu(beta=0.5)",
    "gsmelu(alpha=0.5, beta=1.5, g_minus=0.1, g_plus=1.2, t=-0.3)",
    "rescu(knots=(-1, 0, 2), slopes=(0.1, 0.25, 1))",
)
EVERY = tuple(
    {"rescu": "rescu(knots=(-1, 0, 2), slopes=(0, 0.25, 1))"}.get(name, name)
    for name in ACTIVATION_NAMES
)


def wide(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def gradient(module: nn.Module, x: Tensor) -> Tensor:
    x = x.detach().clone().requires_grad_()
    module(x).sum().backward()
    assert x.grad is not None
    return x.grad
