"""Soloist beside the trainers that its users have today, on the same examples and the same net.

Criteo's shape: 26 tables of 100,000 rows of 16, 13 dense features, batches of 1,024, one thread.
DLRM: bottom tower 64-16, top tower 256-128-64; DeepFM: tower 256-128-64. Contestants take turns in
one run; a rate counts examples from the file to the step, but for the reference trainer's, which
is its own figure and leaves out its loading of data.
"""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from distrib.scheduling.session import ray_session
from distrib.trials.results import machine
from jobs.benchmark import _fused, _peer_deepctr, _peer_dlrm, _peer_torchrec, _steps
from jobs.benchmark._criteo import (
    BATCH,
    BOTTOM,
    DENSE,
    HIDDEN,
    TABLES,
    WIDTH,
    rate,
    rate_of_ranks,
    recipe_of_model,
    write_log,
)
from jobs.benchmark._timing import matmul_precision
from jobs.benchmark._turns import Contestants, Goal, Turns, rates, take, verdicts
from recsys.config import Recipe
from recsys.data.click_log import ClickLog
from recsys.errors import ConfigError

_LOCAL, _LOCAL_MEDIUM, _LOCAL_SGD = "local", "local, medium", "local, SGD"
_DLRM, _DLRM_ADAGRAD = "DLRM as it comes", "DLRM, rowwise Adagrad"
_PLAIN = "plain TorchRec loop"
_DEEPFM, _DEEPFM_MEDIUM = "local, DeepFM", "local, DeepFM, medium"
_DEEPCTR, _DEEPCTR_BARE = "DeepCTR-Torch as it comes", "DeepCTR-Torch, no penalty"
_ONE_RANK, _TWO_RANKS = "sync, 1 rank", "sync, 2 ranks"
_TWO_WHOLE_BATCHES = f"sync, 2 ranks, {BATCH:,} each"
_DEEPCTR_BATCHES = 12
"""It moves every row of every table in each step, so few batches take as long as all of ours"""


class Part(StrEnum):
    """What can be measured alone."""

    DLRM = "dlrm"
    DEEPCTR = "deepctr"
    SYNC = "sync"
    FUSED = "fused"
    STEPS = "steps"


def peers(
    part: Annotated[
        list[Part] | None, typer.Option(help="Measure this alone; may be given again.")
    ] = None,
    dlrm: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A checkout of facebookresearch/dlrm to compare with."),
    ] = None,
    batches: Annotated[int, typer.Option(min=32, help="Batches of a run.")] = 300,
    turns: Annotated[int, typer.Option(min=1, help="Runs of each contestant.")] = 3,
) -> None:
    """Print examples/s of Soloist and of its peers, their ratios, and what was wanted of them.

    DeepCTR-Torch, and what the DLRM trainer imports, come with `pip install "soloist[peers]"`.
    """
    console = Console()
    wanted = _possible(part, dlrm, console)
    console.print(_where())
    with tempfile.TemporaryDirectory() as place:
        scratch = Path(place)
        log = write_log(scratch / "log", batches)
        if Part.DLRM in wanted:
            _report(console, take(_dlrm_contestants(log, dlrm, scratch), turns), _DLRM_GOALS)
        if Part.DEEPCTR in wanted:
            _report(console, take(_deepctr_contestants(log), turns), _DEEPCTR_GOALS)
        if Part.SYNC in wanted:
            with ray_session():
                _report(console, take(_sync_contestants(log), turns), _SYNC_GOALS)
        if Part.STEPS in wanted:
            _report(console, _steps.measure(log, recipe_of_model("mlp", {})), _steps.GOALS)
        if Part.FUSED in wanted:
            movielens = _fused.write_log(scratch / "movielens")
            found = [_fused.turn(movielens) for _ in range(turns)]
            _report(console, found, [_fused.GOAL], unit="studies/s")


def _possible(part: list[Part] | None, dlrm: Path | None, console: Console) -> set[Part]:
    """Return what is to be measured; of all parts, those that what is installed allows.

    Raises:
        ConfigError: a part that is asked for by its name cannot run, or there is no DLRM trainer.
    """
    if dlrm is not None:
        _peer_dlrm.check(dlrm)
    wanted = set(part or Part)
    if Part.DEEPCTR in wanted:
        try:
            _peer_deepctr.library()
        except ConfigError as error:
            if part:
                raise
            console.print(f"left out: {error}", markup=False)
            wanted.remove(Part.DEEPCTR)
    return wanted


_DLRM_GOALS = [
    Goal(of=_LOCAL_MEDIUM, to=_DLRM, at_least=2.2),
    Goal(of=_LOCAL_SGD, to=_DLRM, at_least=1.3),
    Goal(of=_LOCAL, to=_DLRM_ADAGRAD, at_least=1.3),
    Goal(of=_LOCAL, to=_PLAIN, at_least=1.0),
]
_DEEPCTR_GOALS = [
    Goal(of=ours, to=theirs, at_least=10.0)
    for ours in (_DEEPFM, _DEEPFM_MEDIUM)
    for theirs in (_DEEPCTR, _DEEPCTR_BARE)
]
_SYNC_GOALS = [
    Goal(of=of_two, to=_ONE_RANK, at_least=1.8) for of_two in (_TWO_RANKS, _TWO_WHOLE_BATCHES)
]


def _dlrm_contestants(log: ClickLog, dlrm: Path | None, scratch: Path) -> Contestants:
    """Return `local` and those that train DLRM; the reference trainer where it is given."""
    sgd = {"sparse": "sgd", "dense": "sgd"}
    recipe = recipe_of_model("dlrm", {})
    medium = recipe_of_model("dlrm", {"matmul_precision": "medium"})
    contestants: dict[str, Callable[[], float]] = {
        _LOCAL: lambda: rate(log, recipe),
        _LOCAL_MEDIUM: lambda: rate(log, medium),
        _LOCAL_SGD: lambda: rate(log, recipe_of_model("dlrm", {}, optimizer=sgd)),
        _PLAIN: lambda: _peer_torchrec.rate(log, recipe),
    }
    if dlrm is not None:
        reference = _peer_dlrm.prepared(dlrm, log, scratch, BATCH)

        def rate_of(optimizer: str) -> float:
            return _peer_dlrm.rate(
                reference,
                bottom="-".join(map(str, (DENSE, *BOTTOM, WIDTH))),
                top="-".join(map(str, (_interactions(), *HIDDEN, 1))),
                width=WIDTH,
                batch_size=BATCH,
                optimizer=optimizer,
            )

        contestants |= {
            _DLRM: lambda: rate_of("sgd"),
            _DLRM_ADAGRAD: lambda: rate_of("rwsadagrad"),
        }
    return contestants


def _deepctr_contestants(log: ClickLog) -> Contestants:
    recipe = recipe_of_model("deepfm", {})
    medium = recipe_of_model("deepfm", {"matmul_precision": "medium"})

    def deepctr(*, regularised: bool) -> float:
        return _peer_deepctr.rate(log, recipe, _DEEPCTR_BATCHES, regularised=regularised)

    return {
        _DEEPFM: lambda: rate(log, recipe),
        _DEEPFM_MEDIUM: lambda: rate(log, medium),
        _DEEPCTR: lambda: deepctr(regularised=True),
        _DEEPCTR_BARE: lambda: deepctr(regularised=False),
    }


def _sync_contestants(log: ClickLog) -> Contestants:
    """Return `local`, and `sync` with one and two ranks, on the MLP; all tell their own rates.

    Two ranks share the batch that one rank has, or have each one of that size: what a rank does for
    every batch, whatever its size, and what ranks tell each other, weigh half as much then.
    """

    def sync(ranks: int, batch_size: int) -> Recipe:
        engine = {"name": "sync", "workers": ranks, "tracking": "none"}
        return recipe_of_model("mlp", engine, batch_size=batch_size)

    recipes = {
        _LOCAL: recipe_of_model("mlp", {}),
        _ONE_RANK: sync(1, BATCH),
        _TWO_RANKS: sync(2, BATCH),
        _TWO_WHOLE_BATCHES: sync(2, 2 * BATCH),
    }

    def contestant(recipe: Recipe) -> Callable[[], float]:
        return lambda: rate_of_ranks(log, recipe)

    return {name: contestant(recipe) for name, recipe in recipes.items()}


def _interactions() -> int:
    """Return the inputs of DLRM's top tower: the bottom tower's vector and all pairs."""
    return WIDTH + (TABLES + 1) * TABLES // 2


def _report(
    console: Console, found: Turns, goals: list[Goal] | tuple[Goal, ...], unit: str = "examples/s"
) -> None:
    console.print(rates(found, unit))
    console.print(verdicts(found, goals))


def _where() -> str:
    computer = machine(torch.device("cpu"))
    return (
        f"{computer['processor']}, {computer['cpu_capability']}, {computer['cpus']} CPUs, "
        f"PyTorch {torch.__version__}, Python {platform.python_version()}; relative error of a "
        f"product, highest: {_product_error('highest'):.1e}, medium: {_product_error('medium'):.1e}"
    )


def _product_error(precision: str) -> float:
    """Return how far float32 products are from float64's: medium may or may not use bfloat16."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(256, 256, generator=generator) for _ in range(2))
    exact = left.double() @ right.double()
    with matmul_precision(precision):
        return float((left @ right - exact).norm() / exact.norm())
