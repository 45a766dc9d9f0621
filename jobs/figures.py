"""Figures that need no results: activations, and loss surfaces of random networks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from torch import nn
from typer import Option

from analysis.figures.activations import Curve, Family, Surface, activation_curves, loss_surfaces
from analysis.figures.render import save
from jobs.command import echo, run
from recsys.activations import get_activation

BETAS = {
    "smelu": (0.0, 0.25, 0.5, 1.0, 2.0),
    "swish": (0.5, 1.0, 2.0, 8.0),
    "gelu": (0.5, 1.0, 2.0, 8.0),
    "softplus": (0.5, 1.0, 2.0, 8.0),
}
"""A larger beta is smoother for SmeLU, a smaller one for the others."""
SURFACE_BETAS = (0.0, 0.25, 0.5, 1.0, 2.0)
SURFACE_HIDDEN = (32,) * 8
SURFACE_SEED = 2
"""An illustration, not evidence: the seed of a few that shows smoothing best"""
SURFACE_REACH = 4.0
SURFACE_POINTS = 161


def figures(
    output: Annotated[
        Path, Option("--output", "-o", metavar="DIR", help="Directory for the figures.")
    ] = Path("figures"),
) -> None:
    """Draw activations and their gradients for several beta, and loss surfaces."""
    for path in draw_activations(output) + draw_surfaces(output):
        echo(path)


def draw_activations(directory: Path) -> list[Path]:
    """Write activations.png and activations.svg."""
    families = [family(name, betas) for name, betas in BETAS.items()]
    return save(activation_curves(families), directory, "activations")


def draw_surfaces(directory: Path) -> list[Path]:
    """Write loss_surfaces.png and loss_surfaces.svg."""
    surfaces = [surface(beta) for beta in SURFACE_BETAS]
    return save(loss_surfaces(surfaces), directory, "loss_surfaces")


def family(name: str, betas: Sequence[float]) -> Family:
    """Evaluate an activation and, by autograd, its gradient over a range of inputs."""
    curves = []
    for beta in betas:
        x = torch.linspace(-4, 4, 321, dtype=torch.float64, requires_grad=True)
        value = get_activation(name, beta=beta)(x)
        (gradient,) = torch.autograd.grad(value.sum(), x)
        inputs, values = x.detach().numpy(), value.detach().numpy()
        curves.append(Curve(beta=beta, x=inputs, value=values, gradient=gradient.numpy()))
    return Family(name=name, curves=tuple(curves))


def surface(beta: float) -> Surface:
    """Return the log loss of a random network over two inputs, for the label 1.

    The weights are the same for every beta: He initialization and small biases from one seed.
    Logits are scaled to mean 0 and standard deviation 1, so that shapes are comparable.
    """
    axis = torch.linspace(-SURFACE_REACH, SURFACE_REACH, SURFACE_POINTS, dtype=torch.float64)
    with torch.no_grad():
        logits = _random_network(beta)(torch.cartesian_prod(axis, axis))
        logits = ((logits - logits.mean()) / logits.std()).reshape(len(axis), len(axis))
    return Surface(
        name="ReLU" if beta == 0 else f"SmeLU, β = {beta:g}",
        first=axis.numpy(),
        second=axis.numpy(),
        loss=np.logaddexp(0.0, -logits.numpy()),
    )


def _random_network(beta: float) -> nn.Module:
    generator = torch.Generator().manual_seed(SURFACE_SEED)
    layers: list[nn.Module] = []
    for width, after in pairwise((2, *SURFACE_HIDDEN, 1)):
        linear = nn.Linear(width, after, dtype=torch.float64)
        nn.init.normal_(linear.weight, 0.0, (2.0 / width) ** 0.5, generator=generator)
        nn.init.normal_(linear.bias, 0.0, 0.5, generator=generator)
        layers += [linear, get_activation("smelu", beta=beta)]
    return nn.Sequential(*layers[:-1])


if __name__ == "__main__":
    run(figures)
