"""SmeLU as Triton kernels: one pass forward, one backward, each element read and written once.

The operations and their order are those of ``recsys.rescu``, and none can be fused, so both round
alike. Imported only if Triton is installed (``recsys.native``).
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 1024


@triton.jit
def _ramp(x, start, scale):  # type: ignore[no-untyped-def]
    ramp = (x - start) * scale
    # No comparison holds for NaN, which so passes through; tl.clamp would drop it.
    ramp = tl.where(ramp < 0.0, 0.0, ramp)
    return tl.where(ramp > 1.0, 1.0, ramp)


@triton.jit  # type: ignore[untyped-decorator]
def _value(xs, ys, count, start, scale, beta, block: tl.constexpr):  # type: ignore[no-untyped-def]
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    given = tl.load(xs + at, mask=at < count)
    x = given.to(tl.float32)
    ramp = _ramp(x, start, scale)
    curve = ramp * ramp * beta
    tl.store(ys + at, tl.where(x < curve, curve, x).to(given.dtype), mask=at < count)


@triton.jit  # type: ignore[untyped-decorator]
def _gradient(xs, above, ys, count, start, scale, block: tl.constexpr):  # type: ignore
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    given = tl.load(xs + at, mask=at < count)
    slope = _ramp(given.to(tl.float32), start, scale)
    gradient = tl.load(above + at, mask=at < count).to(tl.float32) * slope
    tl.store(ys + at, gradient.to(given.dtype), mask=at < count)


def smelu_value(x: Tensor, beta: float) -> Tensor:
    """Return SmeLU of ``x``: float32, bfloat16 or float16, of any shape and strides."""
    y = torch.empty_like(x)
    _launch(_value, y, _with_strides_of(x, y), y, y.numel(), -beta, 1 / (2 * beta), beta)
    return y


def smelu_gradient(above: Tensor, x: Tensor, beta: float) -> Tensor:
    """Return the gradient by ``x``, given that by SmeLU's value: both of one shape and dtype."""
    y = torch.empty_like(x)
    given = (_with_strides_of(x, y), _with_strides_of(above, y))
    _launch(_gradient, y, *given, y, y.numel(), -beta, 1 / (2 * beta))
    return y


def _launch(kernel: Any, result: Tensor, *arguments: Tensor | float) -> None:
    if result.numel():
        with torch.cuda.device_of(result):  # Triton launches on the current device
            kernel[(triton.cdiv(result.numel(), _BLOCK),)](*arguments, block=_BLOCK)


def _with_strides_of(tensor: Tensor, like: Tensor) -> Tensor:
    """Return ``tensor`` with the memory layout of ``like``."""
    return tensor if tensor.stride() == like.stride() else torch.empty_like(like).copy_(tensor)
