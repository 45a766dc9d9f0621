"""Networks that a stack must equal, one by one: plain PyTorch with the same weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Weights = dict[str, Tensor]
Reference = Callable[[Weights, Tensor, Tensor], Tensor]


def assert_each_equals(
    stack: nn.Module, reference: Reference, dense: Tensor, embedded: Tensor
) -> None:
    """Assert that network i of a stack has the logits and gradients of the reference.

    ``dense`` is ``(n, B, D)``, ``embedded`` ``(n, B, C)``; the reference takes one network's
    weights, ``(B, D)`` and ``(B, C)``, and returns ``(B, heads)``.
    """
    stack.double()
    embedded = embedded.double().requires_grad_()
    dense = dense.double()
    logits = stack(dense, embedded)
    weighing = torch.linspace(-1, 2, logits.numel(), dtype=torch.float64).view_as(logits)
    (logits * weighing).sum().backward()
    for i in range(len(dense)):
        weights = {
            name: one[i].detach().clone().requires_grad_() for name, one in stack.named_parameters()
        }
        columns = embedded[i].detach().clone().requires_grad_()
        expected = reference(weights, dense[i], columns)
        (expected * weighing[i]).sum().backward()
        torch.testing.assert_close(logits[i], expected)
        torch.testing.assert_close(embedded.grad[i], columns.grad)
        for name, one in stack.named_parameters():
            torch.testing.assert_close(one.grad[i], weights[name].grad, msg=name)


def plain_mlp(
    weights: Weights,
    prefix: str,
    x: Tensor,
    activation: Callable[[Tensor], Tensor],
    *,
    hidden: int,
    layer_norm: bool,
    ends_hidden: bool = False,
) -> Tensor:
    """Return a multilayer perceptron of ``hidden`` hidden layers, written out."""
    layer = 0
    for _ in range(hidden):
        x = (
            x @ weights[f"{prefix}.layers.{layer}.weight"]
            + weights[f"{prefix}.layers.{layer}.bias"]
        )
        if layer_norm:
            layer += 1
            gain, bias = (weights[f"{prefix}.layers.{layer}.{w}"] for w in ("gain", "bias"))
            x = F.layer_norm(x, x.shape[-1:]) * gain + bias
        x = activation(x)
        layer += 2
    if ends_hidden:
        return x
    return x @ weights[f"{prefix}.layers.{layer}.weight"] + weights[f"{prefix}.layers.{layer}.bias"]
