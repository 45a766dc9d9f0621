"""Forward and backward time of each activation, compared with ReLU.

Each activation alternates with ReLU on the same input, so that load from other processes affects
both alike; the median of the ratios of neighbouring runs is printed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Annotated, NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from typer import Option

from jobs.benchmark.harness import CPU, print_all
from recsys.activations import get_activation
from recsys.cost import wait_for
from recsys.native import smelu_implementation

ACTIVATIONS = (
    "relu",  # against itself: the error of the method
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
_WARM_UP = 5
_GPU_REPEATS = 20


class Comparison(NamedTuple):
    """Time of forward and backward, ``ratio`` to ReLU's with its quartiles ``low`` and ``high``."""

    time_us: float
    ratio: float
    low: float
    high: float


def activations(
    seconds: Annotated[float, Option(min=0.1, help="Time for each activation and shape.")] = 2.0,
    threads: Annotated[int, Option(min=1, help="Threads of PyTorch.")] = 1,
    seed: Annotated[int, Option(help="Seed of the input.")] = 0,
) -> None:
    """Print the time of forward and backward of each activation compared with ReLU, in float32."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        console = Console()
        smelu = smelu_implementation()
        console.print(f"SmeLU is {smelu}; {threads} thread(s); PyTorch {torch.__version__}")
        print_all(console, comparisons(CPU, seconds=seconds, seed=seed))
    finally:
        torch.set_num_threads(before)


def comparisons(device: torch.device, *, seconds: float, seed: int) -> Iterator[Table]:
    """Yield a table for each shape, ``seconds`` for each activation."""
    for shape in SHAPES:
        size = " × ".join(f"{side:,}" for side in shape)
        table = Table(title=f"forward and backward compared with ReLU, float32, {size}")
        table.add_column("activation", overflow="fold")
        for heading in ("µs", "ratio", "quartiles"):
            table.add_column(heading, justify="right", no_wrap=True)
        for name in ACTIVATIONS:
            module = get_activation(name)
            found = compare_with_relu(module, shape, seconds=seconds, seed=seed, device=device)
            quartiles = f"{found.low:.2f}–{found.high:.2f}"
            table.add_row(name, f"{found.time_us:,.0f}", f"{found.ratio:.2f}", quartiles)
        yield table


def compare_with_relu(
    module: nn.Module,
    shape: tuple[int, ...],
    *,
    seconds: float,
    seed: int = 0,
    device: torch.device = CPU,
) -> Comparison:
    """Run ``module`` and ReLU in alternation for ``seconds`` and return the ratio of their times.

    A run is one forward and backward on the CPU, and several on a GPU with one synchronization
    after them: in training, too, the host enqueues the next operations meanwhile.
    """
    generator = torch.Generator().manual_seed(seed)
    x, gradient = (torch.randn(shape, generator=generator).to(device) for _ in range(2))
    x.requires_grad_()
    relu, repeats = get_activation("relu"), _GPU_REPEATS if device.type == "cuda" else 1

    def run(each: nn.Module) -> float:
        x.grad = None  # freed before the clock starts
        start = time.perf_counter()
        for _ in range(repeats):
            x.grad = None
            each(x).backward(gradient)
        wait_for(device)
        return (time.perf_counter() - start) / repeats

    for _ in range(_WARM_UP):
        run(relu), run(module)
    end = time.perf_counter() + seconds
    pairs = [(run(relu), run(module))]
    while time.perf_counter() < end:
        pairs.append((run(relu), run(module)))
    of_relu, of_module = np.array(pairs).T
    low, ratio, high = map(float, np.quantile(of_module / of_relu, (0.25, 0.5, 0.75)))
    return Comparison(1e6 * float(np.median(of_module)), ratio, low, high)
