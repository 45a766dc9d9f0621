"""Whether SmeLU runs as a Triton kernel on a GPU, or in PyTorch operations.

PyTorch's CUDA builds bring Triton, which compiles a kernel in about a second when it is first
used and keeps it for later processes; it needs a C compiler. Where it cannot, one line in the log
says why, and the same functions run in PyTorch operations, with the same numbers, slower.
``SOLOIST_NATIVE=0`` asks for those.
"""

from __future__ import annotations

import functools
import logging
import os
from typing import Protocol

import torch
from torch import Tensor

from recsys.native import is_plain

log = logging.getLogger(__name__)

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_NARROWEST = torch.finfo(torch.float32).tiny
"""A narrower rise has a slope that overflows: it is a step, which the kernels do not know"""


class Kernels(Protocol):
    """What ``recsys.triton_smelu`` has."""

    def smelu_value(self, x: Tensor, beta: float) -> Tensor: ...

    def smelu_gradient(self, above: Tensor, x: Tensor, beta: float) -> Tensor: ...


@functools.cache
def kernels() -> Kernels | None:
    """Return the kernels, compiling one to see that it can be; None where it cannot."""
    if os.environ.get("SOLOIST_NATIVE") == "0":
        return None
    try:
        from recsys import triton_smelu

        triton_smelu.smelu_value(torch.zeros(1, device="cuda"), 1.0)
    except Exception as error:  # Triton's, its compiler's, the driver's: none may end a training
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        log.warning("SmeLU runs on the GPU in PyTorch operations, several times slower: %s", reason)
        return None
    return triton_smelu


def kernels_for(x: Tensor, beta: float) -> Kernels | None:
    """Return the kernels where they apply to ``x``.

    Not while PyTorch traces, nor under ``torch.func``, for the reasons that ``recsys.native`` has.
    """
    if torch.compiler.is_compiling() or not x.is_cuda or x.dtype not in _DTYPES:
        return None
    return kernels() if is_plain(x) and 2 * beta >= _NARROWEST else None


def smelu_on_gpu() -> str:
    """Return what computes SmeLU on a GPU in this process, for the record of a run."""
    return "pytorch" if kernels() is None else "Triton"
