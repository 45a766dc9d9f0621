"""Soloist on a GPU: beside a plain TorchRec loop, fused, by activation, and where its time goes.

Criteo's shape, as `peers` has it: 26 tables of 100,000 rows of 16, 13 dense features. Contestants
take turns in one run; ratios are taken within a turn, and what is printed is their median with the
lowest and the highest.
"""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from distrib.trials.results import machine
from jobs.benchmark import _fused, _peer_torchrec, _steps, activations
from jobs.benchmark._criteo import BATCH, rate, recipe_of_model, write_log
from jobs.benchmark._gpu_ceilings import Sizes, ceilings
from jobs.benchmark._gpu_parts import Training
from jobs.benchmark._gpu_tables import Turn, ceilings_table, parts_table
from jobs.benchmark._turns import Contestants, Goal, Turns, rates, take, verdicts
from recsys.config import Recipe
from recsys.data.click_log import ClickLog
from recsys.errors import ConfigError
from recsys.native import smelu_implementation, smelu_on_gpu

_PRECISIONS = {"float32": "highest", "TF32": "high"}
_BATCH_SIZES = (BATCH, 16 * BATCH)
_LEAST_BATCHES = 512
"""Two turns of the large batches, of which there are as many fewer"""


class Part(StrEnum):
    """What can be measured alone."""

    LOCAL = "local"
    STEPS = "steps"
    PARTS = "parts"
    FUSED = "fused"
    ACTIVATIONS = "activations"


@dataclass(frozen=True, kw_only=True, slots=True)
class Extent:
    """How much is measured."""

    batches: int
    """Of 1,024 examples, in the training split"""
    turns: int
    seconds: float
    """For each activation and shape"""
    batch_sizes: tuple[int, ...] = _BATCH_SIZES
    part_steps: int = 64
    """Steps of a turn that are taken to parts, and as many that are not"""
    sizes: Sizes = field(default_factory=Sizes)
    replicas: tuple[int, ...] = (1, 2, 4, 8, 16)
    fused_rows: int = _fused.ROWS


def gpu(
    part: Annotated[
        list[Part] | None, typer.Option(help="Measure this alone; may be given again.")
    ] = None,
    batches: Annotated[
        int, typer.Option(min=_LEAST_BATCHES, help="Batches of 1,024 in the training split.")
    ] = 1600,
    turns: Annotated[int, typer.Option(min=1, help="Turns of each contestant.")] = 5,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="Time for each activation and shape.")
    ] = 1.0,
) -> None:
    """Print what Soloist does on this machine's GPU, beside a peer and beside the GPU's limits.

    local: examples/s beside a plain TorchRec loop, at two batch sizes, in float32 and in TF32.
    steps: whole training steps with each activation. parts: where a step's time goes, and how near
    each part comes to what the GPU was measured to do. fused: 1 to 16 replicas side by side.
    activations: each forward and backward beside ReLU.
    """
    device = the_gpu()
    extent = Extent(batches=batches, turns=turns, seconds=seconds)
    measure(Console(), device, set(part or Part), extent)


def the_gpu() -> torch.device:
    """Return the GPU to measure on.

    Raises:
        ConfigError: there is none.
    """
    if not torch.cuda.is_available():
        able = torch.version.cuda or torch.version.hip
        why = "for GPUs" if able else "for CPUs alone"
        raise ConfigError(
            f"benchmark gpu: found no GPU (PyTorch {torch.__version__} is built {why}), "
            "expected one"
        )
    return torch.device("cuda", torch.cuda.current_device())


def measure(console: Console, device: torch.device, wanted: set[Part], extent: Extent) -> None:
    """Measure the parts that are wanted on a device and print what was found."""
    console.print(_where(device), markup=False)
    with tempfile.TemporaryDirectory() as place:
        if wanted & {Part.LOCAL, Part.STEPS, Part.PARTS}:
            log = write_log(Path(place, "criteo"), extent.batches)
            for size in extent.batch_sizes:
                _trainings(console, device, wanted, extent, log, size)
        if Part.FUSED in wanted:
            log = _fused.write_log(Path(place, "movielens"), extent.fused_rows)
            found = [fused_turn(log, device, extent.replicas) for _ in range(extent.turns)]
            title = "MovieLens' shape, MLP, batches of 128: replicas side by side"
            _report(console, title, found, _fused_goals(extent.replicas), unit="replicas/s")
    if Part.ACTIVATIONS in wanted:
        for table in activations.comparisons(device, seconds=extent.seconds, seed=0):
            console.print(table)


def _trainings(
    console: Console,
    device: torch.device,
    wanted: set[Part],
    extent: Extent,
    log: ClickLog,
    batch_size: int,
) -> None:
    """Measure what is trained with one batch size."""
    each = f"batches of {batch_size:,}"
    if Part.LOCAL in wanted:
        found = take(_local_and_peer(log, device, batch_size), extent.turns)
        _report(console, f"DLRM, {each}", found, _PEER_GOALS)
    if Part.STEPS in wanted:
        found = _steps.measure(log, _recipe("mlp", device, batch_size))
        _report(console, f"MLP, {each}, step by step, by activation", found, _steps.GOALS)
    if Part.PARTS in wanted:
        turns = parts_turns(log, _recipe("dlrm", device, batch_size), extent)
        console.print(f"\nDLRM, {each}: the parts of a step, one after another")
        console.print(parts_table(turns))
        console.print(ceilings_table(turns))


_PEER_GOALS = [
    Goal(of=f"local, {name}", to=f"plain TorchRec loop, {name}", at_least=1.0)
    for name in _PRECISIONS
]


def _local_and_peer(log: ClickLog, device: torch.device, batch_size: int) -> Contestants:
    """Return `local` and the plain loop, in each precision."""
    trainers = {"local": rate, "plain TorchRec loop": _peer_torchrec.rate}

    return {
        f"{trainer}, {name}": partial(
            trainers[trainer], log, _recipe("dlrm", device, batch_size, precision)
        )
        for name, precision in _PRECISIONS.items()
        for trainer in trainers
    }


def fused_turn(log: ClickLog, device: torch.device, replicas: Sequence[int]) -> dict[str, float]:
    """Return the replicas trained and evaluated a second, by how many are side by side."""
    return {
        _side_by_side(count): count / _fused.study_s(log, _fused.replicas(log, count, device.type))
        for count in replicas
    }


def _fused_goals(replicas: Sequence[int]) -> list[Goal]:
    """Return what is judged: side by side they take no longer than one after another."""
    one, *more = (_side_by_side(count) for count in replicas)
    return [Goal(of=several, to=one, at_least=1.0) for several in more]


def _side_by_side(count: int) -> str:
    return f"{count} side by side"


def parts_turns(log: ClickLog, recipe: Recipe, extent: Extent) -> list[Turn]:
    """Return a step's parts and the device's ceilings, which take turns."""
    training = Training(log, recipe)
    steps = min(extent.part_steps, extent.batches * BATCH // recipe.stream.batch_size)
    return [
        Turn(ceilings=ceilings(training.device, extent.sizes), steps=training.measured(steps))
        for _ in range(extent.turns)
    ]


def _recipe(
    model: str, device: torch.device, batch_size: int, matmul_precision: str = "highest"
) -> Recipe:
    engine = {"device": device.type, "matmul_precision": matmul_precision}
    return recipe_of_model(model, engine, batch_size=batch_size)


def _report(
    console: Console,
    title: str,
    found: Turns,
    goals: Sequence[Goal],
    unit: str = "examples/s",
) -> None:
    console.print(f"\n{title}")
    console.print(rates(found, unit))
    console.print(verdicts(found, goals))


def _where(device: torch.device) -> str:
    computer, on_gpu = machine(device), device.type == "cuda"
    return (
        f"{computer['accelerator'] or 'no GPU'}, {computer['processor']}, {computer['cpus']} CPUs, "
        f"PyTorch {torch.__version__}, CUDA {torch.version.cuda}, "
        f"Python {platform.python_version()}; "
        f"SmeLU is {smelu_on_gpu() if on_gpu else smelu_implementation()}"
    )
