"""Soloist compared with other trainers, on the same examples and the same model.

Criteo's shape: 26 tables of 100,000 rows of 16, 13 dense features, batches of 1,024, one thread.
DLRM: bottom tower 64-16, top tower 256-128-64; DeepFM: tower 256-128-64. Contestants alternate; a
rate counts all time from the file to the step, except that of the DLRM reference trainer, which is
its own figure and excludes loading the data.
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

from distrib.scheduling.session import ray_session
from distrib.trials.trial import Trial
from jobs.benchmark import harness, peer_trainers, workloads
from jobs.benchmark.harness import PART, Contestants, Goal, alternate, report
from jobs.benchmark.workloads import BATCH, rate, recipe_of, reported_rate
from recsys.data.click_log import ClickLog
from recsys.errors import ConfigError

Part = StrEnum("Part", ["DLRM", "DEEPCTR", "SYNC", "FUSED", "STEPS"])

_MEDIUM = {"matmul_precision": "medium"}
_TWO_FULL_BATCHES = f"sync, 2 ranks, {BATCH:,} each"
_DLRM_GOALS = [
    Goal("local, medium", "DLRM, default", at_least=2.2),
    Goal("local, SGD", "DLRM, default", at_least=1.3),
    Goal("local", "DLRM, rowwise Adagrad", at_least=1.3),
    Goal("local", "plain TorchRec loop", at_least=1.0),
]
_DEEPCTR_GOALS = [
    Goal(ours, theirs, at_least=10.0)
    for ours in ("local, DeepFM", "local, DeepFM, medium")
    for theirs in ("DeepCTR-Torch, default", "DeepCTR-Torch, no penalty")
]
SYNC_GOALS = [
    Goal(two_ranks, "sync, 1 rank", at_least=1.8)
    for two_ranks in ("sync, 2 ranks", _TWO_FULL_BATCHES)
]
_FUSED_GOALS = [Goal("8 replicas fused", "one after another", at_least=2.0)]
_DEEPCTR_BATCHES = 12
"""Few, since it updates every row of every table in each step"""


def peers(
    part: Annotated[list[Part] | None, PART] = None,
    dlrm: Annotated[
        Path | None,
        Option(metavar="DIR", help="A checkout of facebookresearch/dlrm to compare with."),
    ] = None,
    batches: Annotated[int, Option(min=32, help="Batches of a run.")] = 300,
    turns: Annotated[int, Option(min=1, help="Runs of each contestant.")] = 3,
) -> None:
    """Print examples/s of Soloist and of its peers, their ratios, and the ratios wanted.

    DeepCTR-Torch, and what the DLRM trainer imports, come with `pip install "soloist[peers]"`.
    """
    console = Console()
    if dlrm is not None:
        peer_trainers.check_dlrm(dlrm)
    parts = available_parts(part, console)
    errors = [f"{name}: {_product_error(name):.1e}" for name in ("highest", "medium")]
    console.print(harness.environment(harness.CPU))
    console.print(f"relative error of a matrix product, {', '.join(errors)}")
    with tempfile.TemporaryDirectory() as place:
        scratch = Path(place)
        log = workloads.write_criteo_log(scratch / "log", batches)
        if Part.DLRM in parts:
            report(console, alternate(_dlrm_contestants(log, dlrm, scratch), turns), _DLRM_GOALS)
        if Part.DEEPCTR in parts:
            report(console, alternate(_deepctr_contestants(log), turns), _DEEPCTR_GOALS)
        if Part.SYNC in parts:
            with ray_session():
                report(console, alternate(sync_contestants(log), turns), SYNC_GOALS)
        if Part.STEPS in parts:
            found = workloads.measure_activations(log, recipe_of())
            report(console, found, workloads.ACTIVATION_GOALS)
        if Part.FUSED in parts:
            contestants = _fused_contestants(workloads.write_movielens_log(scratch / "movielens"))
            report(console, alternate(contestants, turns), _FUSED_GOALS, unit="studies/s")


def available_parts(part: list[Part] | None, console: Console) -> set[Part]:
    """Return the parts to measure: those named, or all but DeepCTR-Torch if it is not installed.

    Raises:
        ConfigError: a part was named whose trainer is not installed.
    """
    parts = set(part or Part)
    if Part.DEEPCTR in parts:
        try:
            peer_trainers.require_deepctr()
        except ConfigError as error:
            if part:
                raise
            console.print(f"skipped: {error}", markup=False)
            parts.remove(Part.DEEPCTR)
    return parts


def _dlrm_contestants(log: ClickLog, dlrm: Path | None, scratch: Path) -> Contestants:
    """Return the trainers of DLRM, with the reference trainer if there is a checkout."""
    recipe = recipe_of(model="dlrm")
    sgd = recipe_of(model="dlrm", optimizer={"sparse": "sgd", "dense": "sgd"})
    contestants = {
        "local": partial(rate, log, recipe),
        "local, medium": partial(rate, log, recipe_of(_MEDIUM, model="dlrm")),
        "local, SGD": partial(rate, log, sgd),
        "plain TorchRec loop": partial(peer_trainers.torchrec_rate, log, recipe),
    }
    if dlrm is None:
        return contestants
    reference = peer_trainers.write_for_dlrm(dlrm, log, scratch)
    return contestants | {
        "DLRM, default": partial(peer_trainers.dlrm_rate, reference, "sgd"),
        "DLRM, rowwise Adagrad": partial(peer_trainers.dlrm_rate, reference, "rwsadagrad"),
    }


def _deepctr_contestants(log: ClickLog) -> Contestants:
    recipe = recipe_of(model="deepfm")
    deepctr = partial(peer_trainers.deepctr_rate, log, recipe, _DEEPCTR_BATCHES)
    return {
        "local, DeepFM": partial(rate, log, recipe),
        "local, DeepFM, medium": partial(rate, log, recipe_of(_MEDIUM, model="deepfm")),
        "DeepCTR-Torch, default": partial(deepctr, regularized=True),
        "DeepCTR-Torch, no penalty": partial(deepctr, regularized=False),
    }


def sync_contestants(log: ClickLog) -> Contestants:
    """Return `local`, and `sync` with one and two ranks, on the MLP; all report their own rates.

    Two ranks share a batch, or have one each: the fixed cost of a rank for every batch, and the
    communication, then weigh half as much.
    """
    recipes = {"local": recipe_of()}
    for name, ranks, size in (
        ("sync, 1 rank", 1, BATCH),
        ("sync, 2 ranks", 2, BATCH),
        (_TWO_FULL_BATCHES, 2, 2 * BATCH),
    ):
        engine = {"name": "sync", "workers": ranks, "tracking": "none"}
        recipes[name] = recipe_of(engine, batch_size=size)
    return {name: partial(reported_rate, log, recipe) for name, recipe in recipes.items()}


def _fused_contestants(log: ClickLog) -> Contestants:
    """Return a study of 8 replicas, fused in one training and one after another."""
    trials = workloads.movielens_replicas(log, 8, "cpu")

    def studies_per_s(*groups: list[Trial]) -> float:
        return 1 / sum(workloads.study_seconds(log, group) for group in groups)

    return {
        "8 replicas fused": partial(studies_per_s, trials),
        "one after another": partial(studies_per_s, *([trial] for trial in trials)),
    }


def _product_error(precision: str) -> float:
    """Return the relative error of float32 products: medium may or may not use bfloat16."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(256, 256, generator=generator) for _ in range(2))
    exact = left.double() @ right.double()
    with harness.matmul_precision(precision):
        return float((left @ right - exact).norm() / exact.norm())
