"""SmeLU as Triton kernels: one pass forward, one backward, each element read and written once.

Imported where Triton is (``recsys.gpu_kernels``). The mathematics is that of ``recsys.rescu``, in
the same operations and order, and none of them can be fused into another, so both round alike.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 1024


@triton.jit
def _rise(x, start, scale):  # type: ignore[no-untyped-def]
    rise = (x - start) * scale
    # No comparison holds for NaN, which so passes through; tl.clamp would drop it.
    rise = tl.where(rise < 0.0, 0.0, rise)
    return tl.where(rise > 1.0, 1.0, rise)


@triton.jit  # type: ignore[untyped-decorator]
def _value(xs, ys, count, start, scale, beta, block: tl.constexpr):  # type: ignore[no-untyped-def]
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    given = tl.load(xs + at, mask=at < count)
    x = given.to(tl.float32)
    rise = _rise(x, start, scale)
    curve = rise * rise * beta
    tl.store(ys + at, tl.where(x < curve, curve, x).to(given.dtype), mask=at < count)


@triton.jit  # type: ignore[untyped-decorator]
def _gradient(xs, above, ys, count, start, scale, block: tl.constexpr):  # type: ignore[no-untyped-def]
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    given = tl.load(xs + at, mask=at < count)
    slope = _rise(given.to(tl.float32), start, scale)
    gradient = tl.load(above + at, mask=at < count).to(tl.float32) * slope
    tl.store(ys + at, gradient.to(given.dtype), mask=at < count)


def smelu_value(x: Tensor, beta: float) -> Tensor:
    """Return SmeLU of ``x``: float32, bfloat16 or float16, of any shape and strides."""
    y = torch.empty_like(x)
    _launch(_value, y, _laid_out(x, y), y, y.numel(), -beta, 1 / (2 * beta), beta)
    return y


def smelu_gradient(above: Tensor, x: Tensor, beta: float) -> Tensor:
    """Return the gradient by ``x``, given that by SmeLU's value: both of one shape and dtype."""
    y = torch.empty_like(x)
    given = (_laid_out(x, y), _laid_out(above, y))
    _launch(_gradient, y, *given, y, y.numel(), -beta, 1 / (2 * beta))
    return y


def _launch(kernel: Any, result: Tensor, *arguments: Tensor | float) -> None:
    if result.numel():
        with torch.cuda.device_of(result):  # Triton launches on whatever device is the current one
            kernel[(triton.cdiv(result.numel(), _BLOCK),)](*arguments, block=_BLOCK)


def _laid_out(tensor: Tensor, like: Tensor) -> Tensor:
    """Return a tensor whose elements lie in memory as those of ``like``, without gaps."""
    return tensor if tensor.stride() == like.stride() else torch.empty_like(like).copy_(tensor)
