"""What each activation costs beside ReLU: forward and backward, alone, on one device.

Each activation takes turns with ReLU on the same input, so that what else the machine does meets
both alike; what is printed is the median of the ratios of neighbouring turns.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import nn

from recsys.activations import get_activation
from recsys.cost import wait_for
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
_GPU_REPEATS = 20
_CPU = torch.device("cpu")


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
        console = Console()
        console.print(
            f"SmeLU is {smelu_implementation()}; {threads} thread(s); PyTorch {torch.__version__}"
        )
        for table in comparisons(_CPU, seconds=seconds, seed=seed):
            console.print(table)
    finally:
        torch.set_num_threads(before)


def comparisons(device: torch.device, *, seconds: float, seed: int) -> Iterator[Table]:
    """Yield for each shape what activations cost beside ReLU, ``seconds`` for each pair."""
    for shape in SHAPES:
        size = " × ".join(f"{side:,}" for side in shape)
        table = Table(title=f"forward and backward beside ReLU, float32, {size}")
        table.add_column("activation", overflow="fold")
        table.add_column("µs", justify="right", no_wrap=True)
        table.add_column("ratio", justify="right", no_wrap=True)
        table.add_column("quartiles", justify="right", no_wrap=True)
        for name in ACTIVATIONS:
            module = get_activation(name)
            found = beside_relu(module, shape, seconds=seconds, seed=seed, device=device)
            table.add_row(
                name,
                f"{found.time_us:,.0f}",
                f"{found.ratio:.2f}",
                f"{found.low:.2f}–{found.high:.2f}",
            )
        yield table


def beside_relu(
    module: nn.Module,
    shape: tuple[int, ...],
    *,
    seconds: float,
    seed: int = 0,
    device: torch.device = _CPU,
) -> Comparison:
    """Let ``module`` and ReLU take turns for ``seconds`` and return the ratio of their times.

    A turn is one time forward and backward on the CPU, and several on a GPU, which are then waited
    for together: as in a training, where the host hands over what comes next meanwhile.
    """
    generator = torch.Generator().manual_seed(seed)
    x, above = (torch.randn(shape, generator=generator).to(device) for _ in range(2))
    x.requires_grad_()
    relu, repeats = get_activation("relu"), _GPU_REPEATS if device.type == "cuda" else 1

    def turn(each: nn.Module) -> float:
        x.grad = None  # freed before time is taken
        start = time.perf_counter()
        for _ in range(repeats):
            x.grad = None
            each(x).backward(above)
        wait_for(device)
        return (time.perf_counter() - start) / repeats

    for _ in range(WARM_UP):
        turn(relu), turn(module)
    end = time.perf_counter() + seconds
    pairs = [(turn(relu), turn(module))]
    while time.perf_counter() < end:
        pairs.append((turn(relu), turn(module)))
    of_relu, of_module = np.array(pairs).T
    low, ratio, high = np.quantile(of_module / of_relu, (0.25, 0.5, 0.75))
    return Comparison(
        time_us=1e6 * float(np.median(of_module)),
        ratio=float(ratio),
        low=float(low),
        high=float(high),
    )
