"""How often nominal 95 % intervals hold the truth: simulated studies whose truth is known.

A study draws groups of very unequal sizes, and replicas of two arms that share their seeds: the
replicas differ by a shift, by how noisy they are, and by noise of each group and of each example.
The truth is the mean over endlessly many examples and replicas. It is found apart from the code
under test, by comparing all pairs of items in a far larger simulation with fresh replicas for
every group.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from analysis.statistics import estimators, intervals
from analysis.statistics.intervals import Interval, Units

Floats = NDArray[np.float64]

SIZES = np.array([2, 4, 8, 16, 32, 64])
SIZE_SHARES = np.array([0.25, 0.25, 0.2, 0.15, 0.1, 0.05])
#: The second arm differs as a smooth activation does from ReLU: less noise, otherwise the same.
NOISE_OF_ARMS = (1.0, 0.6)


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """What replicas differ by, in logits; ``shared`` is how much of it two arms have in common."""

    shift: float = 0.15
    noisiness: float = 0.25
    group_noise: float = 0.3
    example_noise: float = 0.5
    shared: float = 0.5


#: Replicas that differ by independent noise alone; by noise of uneven strength and a shift of all
#: their predictions, as real ones do; and by far more of both.
WORLDS = {
    "noise alone": World(shift=0.0, noisiness=0.0, shared=0.9),
    "uneven noise": World(),
    "far apart": World(shift=0.4, noisiness=0.5),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Examples:
    """``truth`` logits and ``labels`` of examples, their group, ``(N,)`` each, and G."""

    truth: Floats
    labels: Floats
    group: NDArray[np.int64]
    groups: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Coverage:
    """How often the intervals of one quantity held ``truth``, and their mean width."""

    quantity: str
    truth: float
    covered: float
    width: float


def coverage(
    simulations: Annotated[int, typer.Option(min=1, help="Studies for each line.")] = 1000,
    groups: Annotated[int, typer.Option(min=2, help="Groups of examples in a study.")] = 100,
    seed: Annotated[int, typer.Option(help="Seed of all that is drawn.")] = 0,
) -> None:
    """Print how often nominal 95 % intervals cover, with 4 and 8 replicas, in three worlds."""
    console = Console()
    table = Table(title=f"coverage of 95 % intervals, {simulations} studies of {groups} groups")
    for heading in ("world", "quantity", "truth", "replicas", "covered", "mean width"):
        table.add_column(heading, justify="right" if heading != "world" else "left")
    for name, world in WORLDS.items():
        truth = true_values(world, seed=seed)
        for replicas in (4, 8):
            for found in simulate(
                world, truth, replicas=replicas, simulations=simulations, groups=groups, seed=seed
            ):
                table.add_row(
                    name,
                    found.quantity,
                    f"{found.truth:.4f}",
                    str(replicas),
                    f"{found.covered:.1%}",
                    f"{found.width:.4f}",
                )
    console.print(table)


def simulate(
    world: World,
    truth: dict[str, float],
    *,
    replicas: int,
    simulations: int,
    groups: int,
    seed: int,
) -> list[Coverage]:
    """Return how often the intervals of ``simulations`` studies hold each true value."""
    rng = np.random.default_rng([seed, replicas])
    found = [study(rng, world, replicas, groups) for _ in range(simulations)]
    return [
        Coverage(
            quantity=quantity,
            truth=value,
            covered=float(np.mean([each[quantity].contains(value) for each in found])),
            width=float(np.mean([each[quantity].high - each[quantity].low for each in found])),
        )
        for quantity, value in truth.items()
    ]


def study(
    rng: np.random.Generator, world: World, replicas: int, groups: int
) -> dict[str, Interval]:
    """Return the intervals that one study of two arms would print."""
    sizes = rng.choice(SIZES, groups, p=SIZE_SHARES)
    examples = draw_examples(rng, np.repeat(np.arange(groups), sizes), groups)
    everywhere = np.zeros(len(examples.truth), np.int64)
    noisy, smooth = (
        estimators.sample(examples.labels, predictions, examples.group)
        for predictions in draw_models(rng, world, examples, replicas, everywhere)
    )
    pd: Units = estimators.relative_pd(noisy)
    return {
        "relative PD": intervals.estimate(pd, positive=True),
        "swap rate": intervals.estimate(estimators.swap_rate(noisy), positive=True),
        "log loss": intervals.estimate(estimators.log_loss(noisy)),
        "GAUC": intervals.estimate(estimators.gauc(noisy)),
        "PD ratio": intervals.ratio(estimators.relative_pd(smooth), pd).interval,
    }


def true_values(world: World, *, seed: int, examples: int = 400_000) -> dict[str, float]:
    """Return what endlessly many examples and replicas would give, each size about ``examples``."""
    rng = np.random.default_rng([seed, 0])
    names = ("noisy PD", "smooth PD", "swap rate", "log loss", "GAUC")
    above = dict.fromkeys(names, 0.0)
    below = dict.fromkeys(names, 0.0)
    for size, share in zip(SIZES, SIZE_SHARES, strict=True):
        groups = examples // size
        drawn = draw_examples(rng, np.repeat(np.arange(groups), size), groups)
        # Two fresh replicas for every group: pairs of models are as independent as the groups.
        arms = draw_models(rng, world, drawn, 2, drawn.group)
        sums = _sums_over_groups(drawn.labels.reshape(groups, size), *arms)
        for name, (numerator, denominator) in zip(names, sums, strict=True):
            above[name] += share * numerator / groups
            below[name] += share * denominator / groups
    value = {name: float(above[name] / below[name]) for name in names}
    return {
        "relative PD": value["noisy PD"],
        "swap rate": value["swap rate"],
        "log loss": value["log loss"],
        "GAUC": value["GAUC"],
        "PD ratio": value["smooth PD"] / value["noisy PD"],
    }


def _sums_over_groups(labels: Floats, noisy: Floats, smooth: Floats) -> list[tuple[float, float]]:
    """Return numerator and denominator of each quantity, all pairs of ``(G, L)`` compared."""
    groups, size = labels.shape
    first, second = noisy.reshape(2, groups, size)
    order = [np.sign(model[:, :, None] - model[:, None, :]) for model in (first, second)]
    positive = labels[:, :, None] * (1 - labels[:, None, :])
    pairs = positive.sum((1, 2))
    won = (positive * (order[0] + 1) / 2).sum((1, 2))[pairs > 0] / pairs[pairs > 0]
    return [
        *((float(np.sum(np.abs(p - q) / ((p + q) / 2))), labels.size) for p, q in (noisy, smooth)),
        (float((np.abs(order[0] - order[1]) / 2).sum()) / 2, groups * size * (size - 1) / 2),
        (-float(np.log(np.where(labels == 1, first, 1 - first)).sum()), labels.size),
        (float(won.sum()) * size, int((pairs > 0).sum()) * size),
    ]


def draw_examples(rng: np.random.Generator, group: NDArray[np.int64], groups: int) -> Examples:
    """Draw true logits, alike within a group, and labels from them."""
    truth = -0.5 + 0.7 * rng.normal(size=groups)[group] + rng.normal(size=len(group))
    labels = (rng.random(len(group)) < _sigmoid(truth)).astype(np.float64)
    return Examples(truth=truth, labels=labels, group=group, groups=groups)


def draw_models(
    rng: np.random.Generator,
    world: World,
    examples: Examples,
    replicas: int,
    owner: NDArray[np.int64],
) -> list[Floats]:
    """Return the predictions ``(M, N)`` of each arm's replicas.

    ``owner`` ``(N,)`` numbers the independent sets of replicas that predict each example: all 0 for
    one study, the example's group where every group has fresh ones.
    """
    owners = int(owner.max()) + 1

    def seeded(size: int) -> list[Floats]:
        common = rng.normal(size=(replicas, size))
        own = [rng.normal(size=(replicas, size)) for _ in NOISE_OF_ARMS]
        share = world.shared
        return [np.sqrt(share) * common + np.sqrt(1 - share) * each for each in own]

    parts = zip(
        seeded(owners),
        seeded(owners),
        seeded(examples.groups),
        seeded(len(examples.truth)),
        strict=True,
    )
    return [
        _sigmoid(
            examples.truth
            + noise
            * (
                world.shift * shift[:, owner]
                + np.exp(world.noisiness * loudness[:, owner])
                * (
                    world.group_noise * of_group[:, examples.group]
                    + world.example_noise * of_example
                )
            )
        )
        for noise, (shift, loudness, of_group, of_example) in zip(NOISE_OF_ARMS, parts, strict=True)
    ]


def _sigmoid(logits: Floats) -> Floats:
    return 1.0 / (1.0 + np.exp(-logits))
