"""The time of what a device does, and the arithmetic that it does it in."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from recsys.cost import wait_for


def seconds_each(run: Callable[[], object], device: torch.device, *, repeats: int) -> float:
    """Return the mean time of ``run``, from the call until a GPU is through with the last one."""
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    wait_for(device)
    return (time.perf_counter() - start) / repeats


@contextmanager
def matmul_precision(precision: str) -> Iterator[None]:
    """Have float32 products in a precision, inside the block."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
