"""Rectified smooth continuous units in PyTorch operations, with exact gradients.

Every gradient here is a sum of *ramps*: a ramp rises linearly from 0 to 1 over
``[start, start + width]`` and is constant outside. The backward pass saves the input only. Half
precision is computed in float32 and rounded once.

These operations run on every device, under ``torch.compile``, ``torch.export`` and ``torch.func``,
and can be differentiated twice. ``native.cpp`` (CPU) and ``triton_smelu.py`` (GPU, SmeLU only)
compute the same numbers faster.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recsys.native import gpu_kernels_for, operators_for

_HALF = (torch.bfloat16, torch.float16)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pieces:
    """A function whose gradient is linear between knots and constant outside.

    The gradient goes through ``(knots[i], slopes[i])``; the function is ``value`` at the first
    knot. Two equal knots are a kink: the left slope holds at the knot itself.
    """

    knots: tuple[float, ...]
    slopes: tuple[float, ...]
    value: float


def smelu(x: Tensor, beta: float) -> Tensor:
    """Apply SmeLU, Shamir & Lin 2022 (arXiv 2202.06499), for a finite ``beta`` > 0."""
    compiled = operators_for(x)
    if compiled is not None:
        return compiled.smelu(x, beta)
    return _Smelu.apply(x, beta)  # type: ignore[no-untyped-call]


def rescu(x: Tensor, pieces: Pieces) -> Tensor:
    """Apply the function that ``pieces`` defines."""
    compiled = operators_for(x)
    if compiled is not None:
        return compiled.rescu(x, pieces.knots, pieces.slopes, pieces.value)
    return _Rescu.apply(x, pieces)  # type: ignore[no-untyped-call]


def smelu_value(x: Tensor, beta: float) -> Tensor:
    """Return SmeLU of ``x``, outside of autograd."""
    wide = _widen(x)
    slope = _ramp(wide, -beta, 2 * beta)
    # (x+β)²/(4β) = β·slope² is nowhere below x, and is β right of β. So the maximum of the two is
    # SmeLU: exactly x on the right and exactly 0 on the left, also for infinite x.
    return torch.maximum(wide, slope.mul_(slope).mul_(beta)).to(x.dtype)


def smelu_slope(x: Tensor, beta: float) -> Tensor:
    """Return the gradient of SmeLU at ``x``; float32 if ``x`` is half precision."""
    return _ramp(_widen(x), -beta, 2 * beta)


def rescu_value(x: Tensor, pieces: Pieces) -> Tensor:
    """Return the function of ``pieces`` at ``x``, outside of autograd."""
    wide = _widen(x)
    first, last = pieces.knots[0], pieces.knots[-1]
    # Infinite inputs times a slope of 0 would give NaN, so the part between the knots uses a
    # clamped input, and the straight ends are added afterwards.
    inner = wide.clamp(first, last)
    value = pieces.value + pieces.slopes[0] * (inner - first)
    for start, stop, change in _ramps(pieces):
        ramp = _ramp(inner, start, stop - start)
        area = (0.5 * (stop - start)) * ramp * ramp + (inner - stop).clamp(min=0)
        value = value + change * area
    if pieces.slopes[0]:
        value = value + pieces.slopes[0] * (wide - first).clamp(max=0)
    if pieces.slopes[-1]:
        value = value + pieces.slopes[-1] * (wide - last).clamp(min=0)
    return value.to(x.dtype)


def rescu_slope(x: Tensor, pieces: Pieces) -> Tensor:
    """Return the gradient of ``pieces`` at ``x``; float32 if ``x`` is half precision."""
    wide = _widen(x)
    slope: Tensor | float = pieces.slopes[0]
    for start, stop, change in _ramps(pieces):
        slope = slope + change * _ramp(wide, start, stop - start)
    assert isinstance(slope, Tensor)
    return slope


def _ramps(pieces: Pieces) -> list[tuple[float, float, float]]:
    """Return (start, stop, change of slope) of each interval between knots."""
    knots, slopes = pieces.knots, pieces.slopes
    return [(knots[i], knots[i + 1], slopes[i + 1] - slopes[i]) for i in range(len(knots) - 1)]


def _ramp(x: Tensor, start: float, width: float) -> Tensor:
    if width < torch.finfo(x.dtype).tiny:  # 1 / width would overflow; treat it as a step
        return (x > start).to(x.dtype)
    # Subtracting first keeps full relative precision at the start of the ramp.
    return (x - start).mul_(1.0 / width).clamp(0.0, 1.0)


def _widen(x: Tensor) -> Tensor:
    return x.float() if x.dtype in _HALF else x


class _Smelu(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, beta: float) -> Tensor:
        kernels = gpu_kernels_for(x, beta)
        return smelu_value(x, beta) if kernels is None else kernels.smelu_value(x, beta)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:
        x, ctx.beta = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        kernels = gpu_kernels_for(x, ctx.beta)
        if kernels is None or torch.is_grad_enabled():  # for a gradient of this gradient
            return (gradient * smelu_slope(x, ctx.beta)).to(x.dtype), None
        return kernels.smelu_gradient(gradient, x, ctx.beta), None


class _Rescu(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, pieces: Pieces) -> Tensor:
        return rescu_value(x, pieces)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Pieces], output: Tensor) -> None:
        x, ctx.pieces = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return (gradient * rescu_slope(x, ctx.pieces)).to(x.dtype), None
