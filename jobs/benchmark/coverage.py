"""How often nominal 95 % intervals contain the true value, on simulated studies.

A study draws groups of very unequal sizes, and replicas of two arms with common seeds. Replicas
differ by a shift, by the scale of their noise, and by noise of each group and each example. The
true value is the mean over infinitely many examples and replicas. It is computed independently of
the code under test: all pairs of items are compared in a far larger simulation, with new replicas
for every group.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from typer import Option

from analysis.statistics import estimators, intervals
from analysis.statistics.intervals import Interval

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

SIZES = np.array([2, 4, 8, 16, 32, 64])
SIZE_SHARES = np.array([0.25, 0.25, 0.2, 0.15, 0.1, 0.05])
NOISE_OF_ARMS = (1.0, 0.6)
"""The second arm differs as a smooth activation does from ReLU: less noise, otherwise the same"""


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """Differences of replicas, in logits; ``shared`` is the share that two arms have in common."""

    shift: float = 0.15
    log_scale: float = 0.25
    group_noise: float = 0.3
    example_noise: float = 0.5
    shared: float = 0.5


WORLDS = {
    "noise alone": World(shift=0.0, log_scale=0.0, shared=0.9),
    "uneven noise": World(),
    "far apart": World(shift=0.4, log_scale=0.5),
}
"""Replicas that differ by independent noise only; by noise of unequal scale and a shift of all
predictions, as real ones do; and by far more of both"""


class Coverage(NamedTuple):
    """How often the intervals of one quantity contain ``truth``, and their mean width."""

    quantity: str
    truth: float
    covered: float
    width: float


def coverage(
    simulations: Annotated[int, Option(min=1, help="Studies for each line.")] = 1000,
    groups: Annotated[int, Option(min=2, help="Groups of examples in a study.")] = 100,
    seed: Annotated[int, Option(help="Seed of all random numbers.")] = 0,
) -> None:
    """Print how often nominal 95 % intervals cover, with 4 and 8 replicas, in three worlds."""
    table = Table(title=f"coverage of 95 % intervals, {simulations} studies of {groups} groups")
    for heading in ("world", "quantity", "truth", "replicas", "covered", "mean width"):
        table.add_column(heading, justify="right" if heading != "world" else "left")
    for name, world in WORLDS.items():
        truth = true_values(world, seed=seed)
        size = {"simulations": simulations, "groups": groups, "seed": seed}
        for replicas in (4, 8):
            for found in simulate(world, truth, replicas=replicas, **size):
                numbers = (f"{found.truth:.4f}", str(replicas), f"{found.covered:.1%}")
                table.add_row(name, found.quantity, *numbers, f"{found.width:.4f}")
    Console().print(table)


def simulate(
    world: World,
    truth: dict[str, float],
    *,
    replicas: int,
    simulations: int,
    groups: int,
    seed: int,
) -> list[Coverage]:
    """Return how often the intervals of ``simulations`` studies contain each true value."""
    rng = np.random.default_rng([seed, replicas])
    studies = [_study(rng, world, replicas, groups) for _ in range(simulations)]
    return [
        Coverage(
            quantity=quantity,
            truth=value,
            covered=float(np.mean([study[quantity].contains(value) for study in studies])),
            width=float(np.mean([study[quantity].high - study[quantity].low for study in studies])),
        )
        for quantity, value in truth.items()
    ]


def _study(
    rng: np.random.Generator, world: World, replicas: int, groups: int
) -> dict[str, Interval]:
    """Return the intervals that one study of two arms would print."""
    sizes = rng.choice(SIZES, groups, p=SIZE_SHARES)
    group = np.repeat(np.arange(groups), sizes)
    truth, labels = _draw_examples(rng, group)
    models = _draw_models(rng, world, truth, group, np.zeros_like(group), replicas)
    noisy, smooth = (estimators.sample(labels, predictions, group) for predictions in models)
    pd = estimators.relative_pd(noisy)
    return {
        "relative PD": intervals.estimate(pd, positive=True),
        "swap rate": intervals.estimate(estimators.swap_rate(noisy), positive=True),
        "log loss": intervals.estimate(estimators.log_loss(noisy)),
        "GAUC": intervals.estimate(estimators.gauc(noisy)),
        "PD ratio": intervals.ratio(estimators.relative_pd(smooth), pd).interval,
    }


def true_values(world: World, *, seed: int, examples: int = 400_000) -> dict[str, float]:
    """Return the limits of infinitely many examples; each group size has ``examples`` of them."""
    rng = np.random.default_rng([seed, 0])
    sums = np.zeros((2, 5))
    for size, share in zip(SIZES, SIZE_SHARES, strict=True):
        groups = examples // size
        group = np.repeat(np.arange(groups), size)
        truth, labels = _draw_examples(rng, group)
        # Two new replicas for every group: pairs of models are as independent as the groups.
        arms = _draw_models(rng, world, truth, group, owner=group, replicas=2)
        sums += share * _sums_over_groups(labels.reshape(groups, size), *arms) / groups
    noisy_pd, smooth_pd, swap_rate, log_loss, gauc = map(float, sums[0] / sums[1])
    return {
        "relative PD": noisy_pd,
        "swap rate": swap_rate,
        "log loss": log_loss,
        "GAUC": gauc,
        "PD ratio": smooth_pd / noisy_pd,
    }


def _sums_over_groups(labels: Floats, noisy: Floats, smooth: Floats) -> Floats:
    """Return numerators and denominators of noisy PD, smooth PD, swap rate, log loss and GAUC.

    All pairs of items are compared: ``labels`` is ``(G, L)``, models are ``(2, G * L)``.
    """
    groups, size = labels.shape
    first, second = noisy.reshape(2, groups, size)
    order = [np.sign(model[:, :, None] - model[:, None, :]) for model in (first, second)]
    positive = labels[:, :, None] * (1 - labels[:, None, :])
    pairs = positive.sum((1, 2))
    won = (positive * (order[0] + 1) / 2).sum((1, 2))[pairs > 0] / pairs[pairs > 0]
    parts = [
        *((float(np.sum(np.abs(p - q) / ((p + q) / 2))), labels.size) for p, q in (noisy, smooth)),
        (float((np.abs(order[0] - order[1]) / 2).sum()) / 2, groups * size * (size - 1) / 2),
        (-float(np.log(np.where(labels == 1, first, 1 - first)).sum()), labels.size),
        (float(won.sum()) * size, int((pairs > 0).sum()) * size),
    ]
    return np.array(parts, np.float64).T


def _draw_examples(rng: np.random.Generator, group: Integers) -> tuple[Floats, Floats]:
    """Draw true logits ``(N,)``, correlated within a group, and labels from them."""
    effects = rng.normal(size=int(group.max()) + 1)
    truth = -0.5 + 0.7 * effects[group] + rng.normal(size=len(group))
    labels = (rng.random(len(group)) < _sigmoid(truth)).astype(np.float64)
    return truth, labels


def _draw_models(
    rng: np.random.Generator,
    world: World,
    truth: Floats,
    group: Integers,
    owner: Integers,
    replicas: int,
) -> list[Floats]:
    """Return the predictions ``(M, N)`` of each arm's replicas.

    ``owner`` ``(N,)`` numbers the independent sets of replicas that predict each example: all 0 for
    one study, the example's group where every group has new ones.
    """

    def draw(size: int) -> list[Floats]:
        common = rng.normal(size=(replicas, size))
        own = [rng.normal(size=(replicas, size)) for _ in NOISE_OF_ARMS]
        return [np.sqrt(world.shared) * common + np.sqrt(1 - world.shared) * each for each in own]

    owners, groups = int(owner.max()) + 1, int(group.max()) + 1
    draws = zip(draw(owners), draw(owners), draw(groups), draw(len(group)), strict=True)
    models = []
    for arm_noise, (shift, scale, of_group, of_example) in zip(NOISE_OF_ARMS, draws, strict=True):
        noise = world.group_noise * of_group[:, group] + world.example_noise * of_example
        noise = world.shift * shift[:, owner] + np.exp(world.log_scale * scale[:, owner]) * noise
        models.append(_sigmoid(truth + arm_noise * noise))
    return models


def _sigmoid(logits: Floats) -> Floats:
    return 1.0 / (1.0 + np.exp(-logits))
