"""Soloist on a GPU: compared with a plain TorchRec loop, fused, by activation, by part of a step.

Criteo's shape, as in `peers`: 26 tables of 100,000 rows of 16, 13 dense features. Contestants
alternate; ratios are taken within a turn, and their median is printed with the lowest and the
highest.
"""

from __future__ import annotations

import tempfile
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
from rich.console import Console
from typer import Option

from jobs.benchmark import activations, gpu_parts, peer_trainers, workloads
from jobs.benchmark.harness import PART, Goal, alternate, environment, print_all, report
from jobs.benchmark.workloads import BATCH, recipe_of
from recsys.config import Recipe
from recsys.data.click_log import ClickLog
from recsys.errors import ConfigError
from recsys.native import smelu_implementation, smelu_on_gpu

Part = StrEnum("Part", ["LOCAL", "STEPS", "PARTS", "FUSED", "ACTIVATIONS"])

_PRECISIONS = {"float32": "highest", "TF32": "high"}
BATCH_SIZES = (BATCH, 16 * BATCH)
PART_STEPS = 64
"""Steps of a turn that are measured part by part, and as many that are not"""
REPLICAS = (1, 2, 4, 8, 16)
_MIN_BATCHES = 512
"""Two turns of the large batches, which hold 16 times as many examples"""


def gpu(
    part: Annotated[list[Part] | None, PART] = None,
    batches: Annotated[
        int, Option(min=_MIN_BATCHES, help="Batches of 1,024 in the training split.")
    ] = 1600,
    turns: Annotated[int, Option(min=1, help="Turns of each contestant.")] = 5,
    seconds: Annotated[float, Option(min=0.1, help="Time for each activation and shape.")] = 1.0,
) -> None:
    """Print what Soloist does on this machine's GPU, compared with a peer and the GPU's limits.

    local: examples/s and a plain TorchRec loop's, at two batch sizes, in float32 and in TF32.
    steps: whole training steps with each activation. parts: where a step's time goes, and how near
    each part comes to the GPU's measured limits. fused: 1 to 16 replicas trained together.
    activations: forward and backward of each, compared with ReLU.
    """
    measure(Console(), find_gpu(), set(part or Part), batches, turns, seconds)


def find_gpu() -> torch.device:
    """Return the GPU to measure on.

    Raises:
        ConfigError: there is none.
    """
    if not torch.cuda.is_available():
        build = "for GPUs" if torch.version.cuda or torch.version.hip else "for CPUs only"
        raise ConfigError(
            f"benchmark gpu: found no GPU (PyTorch {torch.__version__} is built {build}), "
            "expected one"
        )
    return torch.device("cuda", torch.cuda.current_device())


def measure(
    console: Console,
    device: torch.device,
    parts: set[Part],
    batches: int,
    turns: int,
    seconds: float,
) -> None:
    """Measure parts of the benchmark on a device and print the results."""
    smelu = smelu_on_gpu() if device.type == "cuda" else smelu_implementation()
    console.print(f"{environment(device)}; SmeLU is {smelu}", markup=False)
    with tempfile.TemporaryDirectory() as scratch:
        if parts & {Part.LOCAL, Part.STEPS, Part.PARTS}:
            log = workloads.write_criteo_log(Path(scratch, "criteo"), batches)
            for size in BATCH_SIZES:
                _measure_training(console, device, parts, log, size, turns)
        if Part.FUSED in parts:
            log = workloads.write_movielens_log(Path(scratch, "movielens"))
            found = [fused_turn(log, device) for _ in range(turns)]
            alone, *fused = found[0]
            goals = [Goal(each, alone, at_least=1.0) for each in fused]
            console.print("\nMovieLens' shape, MLP, batches of 128: replicas trained together")
            report(console, found, goals, unit="replicas/s")
    if Part.ACTIVATIONS in parts:
        print_all(console, activations.comparisons(device, seconds=seconds, seed=0))


def _measure_training(
    console: Console,
    device: torch.device,
    parts: set[Part],
    log: ClickLog,
    batch_size: int,
    turns: int,
) -> None:
    def recipe(model: str, precision: str = "highest") -> Recipe:
        engine = {"device": device.type, "matmul_precision": precision}
        return recipe_of(engine, model=model, batch_size=batch_size)

    if Part.LOCAL in parts:
        contestants, goals = {}, []
        for name, precision in _PRECISIONS.items():
            ours, theirs = f"local, {name}", f"plain TorchRec loop, {name}"
            dlrm = recipe("dlrm", precision)
            contestants[ours] = partial(workloads.rate, log, dlrm)
            contestants[theirs] = partial(peer_trainers.torchrec_rate, log, dlrm)
            goals.append(Goal(ours, theirs, at_least=1.0))
        console.print(f"\nDLRM, batches of {batch_size:,}")
        report(console, alternate(contestants, turns), goals)
    if Part.STEPS in parts:
        console.print(f"\nMLP, batches of {batch_size:,}, step by step, by activation")
        found = workloads.measure_activations(log, recipe("mlp"))
        report(console, found, workloads.ACTIVATION_GOALS)
    if Part.PARTS in parts:
        console.print(f"\nDLRM, batches of {batch_size:,}: the parts of a step, one after another")
        training = gpu_parts.Training(log, recipe("dlrm"))
        steps = min(PART_STEPS, len(log.splits["train"]) // batch_size)
        measured = [training.turn(steps) for _ in range(turns)]
        print_all(console, [gpu_parts.parts_table(measured), gpu_parts.limits_table(measured)])


def fused_turn(log: ClickLog, device: torch.device) -> dict[str, float]:
    """Return the replicas per second, by how many are trained and evaluated together."""
    rates = {}
    for count in REPLICAS:
        trials = workloads.movielens_replicas(log, count, device.type)
        rates[f"{count} together"] = count / workloads.study_seconds(log, trials)
    return rates
