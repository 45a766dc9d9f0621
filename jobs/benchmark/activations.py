"""What each activation costs beside ReLU: forward and backward, alone, on one thread.

Each activation takes turns with ReLU on the same input, so that what else the machine does meets
both alike; what is printed is the median of the ratios of neighbouring turns.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from recsys.activations import get_activation
from recsys.native import smelu_implementation

ACTIVATIONS = (
    "relu",  # against itself: what the method cannot tell apart
    "smelu(beta=0)",
    "smelu(beta=0.5)",
    "smelu(beta=2)",
    "gsmelu(alpha=0.5, beta=1, g_minus=0.1)",
    "rescu(knots=(-1, 0, 2), slopes=(0, 0.25, 1))",
    "swish",
    "swish(beta=2)",
    "softplus",
    "gelu",
    "gelu(beta=2)",
    "mish",
    "selu",
    "celu",
    "elu",
    "tanh",
)
SHAPES = ((1024, 256), (4_000_000,))
WARM_UP = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Time of forward and backward, ``ratio`` to ReLU's with its quartiles ``low`` and ``high``."""

    time_us: float
    ratio: float
    low: float
    high: float


def activations(
    seconds: Annotated[float, typer.Option(min=0.1, help="Time for each line and shape.")] = 2.0,
    threads: Annotated[int, typer.Option(min=1, help="Threads of PyTorch.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the input.")] = 0,
) -> None:
    """Print what forward and backward of each activation cost beside ReLU, in float32."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        table = Table(
            title=f"forward and backward beside ReLU, float32, {threads} thread(s); "
            f"SmeLU is {smelu_implementation()}; PyTorch {torch.__version__}"
        )
        table.add_column("activation", no_wrap=True)
        for shape in SHAPES:
            size = " × ".join(f"{side:,}" for side in shape)
            table.add_column(f"{size}: µs", justify="right")
            table.add_column("ratio", justify="right")
            table.add_column("quartiles", justify="right")
        for name in ACTIVATIONS:
            cells = [name]
            for shape in SHAPES:
                found = beside_relu(get_activation(name), shape, seconds=seconds, seed=seed)
                cells += [
                    f"{found.time_us:,.0f}",
                    f"{found.ratio:.2f}",
                    f"{found.low:.2f}–{found.high:.2f}",
                ]
            table.add_row(*cells)
        Console().print(table)
    finally:
        torch.set_num_threads(before)


def beside_relu(
    module: nn.Module, shape: tuple[int, ...], *, seconds: float, seed: int = 0
) -> Comparison:
    """Let ``module`` and ReLU take turns for ``seconds`` and return the ratio of their times."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator, requires_grad=True)
    above = torch.randn(shape, generator=generator)
    relu = get_activation("relu")
    for _ in range(WARM_UP):
        _turn(relu, x, above), _turn(module, x, above)
    pairs: list[tuple[float, float]] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pairs.append((_turn(relu, x, above), _turn(module, x, above)))
    of_relu, of_module = np.array(pairs).T
    low, ratio, high = np.quantile(of_module / of_relu, (0.25, 0.5, 0.75))
    return Comparison(
        time_us=1e6 * float(np.median(of_module)),
        ratio=float(ratio),
        low=float(low),
        high=float(high),
    )


def _turn(module: nn.Module, x: Tensor, above: Tensor) -> float:
    start = time.perf_counter()
    module(x).backward(above)
    took = time.perf_counter() - start
    x.grad = None
    return took
