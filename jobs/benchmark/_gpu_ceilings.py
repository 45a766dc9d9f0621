"""What a device can do at best: copies, and products of matrices, as measured on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from jobs.benchmark._timing import matmul_precision, seconds_each


class Ceiling(StrEnum):
    """What bounds a part of a step."""

    COPY = "device copy"
    """Of which bytes read and bytes written count"""
    TO_DEVICE = "host to device"
    """From page-locked memory, and back to it"""
    TO_HOST = "device to host"
    FLOAT32 = "float32 product"
    TF32 = "TF32 product"
    BFLOAT16 = "bfloat16 product"

    @property
    def is_product(self) -> bool:
        return self in _PRODUCTS

    @property
    def unit(self) -> str:
        """Of a rate in millions of millions or in thousands of millions a second."""
        return "TFLOP/s" if self.is_product else "GB/s"

    @property
    def scale(self) -> float:
        """Operations or bytes a second that the unit stands for."""
        return 1e12 if self.is_product else 1e9


_PRODUCTS: Mapping[Ceiling, tuple[str, torch.dtype]] = {
    Ceiling.FLOAT32: ("highest", torch.float32),
    Ceiling.TF32: ("high", torch.float32),
    Ceiling.BFLOAT16: ("highest", torch.bfloat16),
}
"""Precision of float32 products, and dtype"""

_WARM_UP = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """Of what is measured: large enough that starting it does not count."""

    copied_bytes: int = 1 << 30
    moved_bytes: int = 1 << 28
    side: int = 8192
    """Of square matrices"""
    repeats: int = 10


def ceilings(device: torch.device, sizes: Sizes) -> dict[Ceiling, float]:
    """Return each ceiling: bytes a second, or floating-point operations a second."""
    products = {
        ceiling: _product(device, sizes, precision, dtype)
        for ceiling, (precision, dtype) in _PRODUCTS.items()
    }
    return _copies(device, sizes) | products


def product_ceiling(precision: str) -> Ceiling:
    """Return what bounds float32 products in a ``matmul_precision``."""
    return Ceiling.FLOAT32 if precision == "highest" else Ceiling.TF32


def _copies(device: torch.device, sizes: Sizes) -> dict[Ceiling, float]:
    there = torch.zeros(sizes.copied_bytes, dtype=torch.uint8, device=device)
    copy = torch.empty_like(there)
    part = there[: sizes.moved_bytes]
    here = torch.zeros(len(part), dtype=torch.uint8, pin_memory=device.type == "cuda")

    def rate(to: Tensor, source: Tensor, moved: int) -> float:
        return moved / _seconds(lambda: to.copy_(source, non_blocking=True), device, sizes)

    return {
        Ceiling.COPY: rate(copy, there, 2 * len(there)),
        Ceiling.TO_DEVICE: rate(part, here, len(here)),
        Ceiling.TO_HOST: rate(here, part, len(here)),
    }


def _product(device: torch.device, sizes: Sizes, precision: str, dtype: torch.dtype) -> float:
    shape = (sizes.side, sizes.side)
    left, right = (torch.randn(shape, device=device, dtype=dtype) for _ in range(2))
    out = torch.empty_like(left)
    with matmul_precision(precision):
        seconds = _seconds(lambda: torch.mm(left, right, out=out), device, sizes)
    return 2 * sizes.side**3 / seconds


def _seconds(run: Callable[[], object], device: torch.device, sizes: Sizes) -> float:
    seconds_each(run, device, repeats=_WARM_UP)
    return seconds_each(run, device, repeats=sizes.repeats)
