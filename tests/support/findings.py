"""Writes what the sweeps of the findings' experiments would leave, with replicas of known noise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from analysis.findings.document import FINDERS
from jobs.experiment import ExperimentArm
from jobs.loading import load_experiment
from jobs.planning import activation_columns
from tests.support.results import SyntheticArm, write_sweep

REPLICAS = 3
REPLICAS_OF_MANY = 5
STALENESS = (3, 1)
Noise = Callable[[str, ExperimentArm], float]


def write_findings(directory: Path, noise: Noise) -> dict[str, Path]:
    """Write a synthetic sweep of every experiment below ``directory``; return them by name."""
    return {name: write_experiment_sweep(directory / name, name, noise) for name in FINDERS}


def write_experiment_sweep(directory: Path, name: str, noise: Noise) -> Path:
    """Write a synthetic sweep of one experiment, fewer replicas than it asks for."""
    experiment = load_experiment(name)
    directory.mkdir(parents=True)
    many = name == "how_many_models"
    arms = []
    for title, arm in experiment.arms.items():
        activation, beta = activation_columns(arm.recipe.arm.activation)
        arms.append(
            SyntheticArm(
                name=title,
                noise=noise(title, arm),
                wrong=0.2,
                kind=arm.recipe.arm.kind,
                activation=activation,
                beta=beta,
                # Of the synthetic cost, which counts them: only these serve a table set for each.
                components=arm.recipe.arm.components if arm.recipe.arm.kind == "ensemble" else 1,
                replicas=REPLICAS_OF_MANY if many else REPLICAS,
                staleness=STALENESS if arm.recipe.engine.name.endswith("async") else (),
            )
        )
    return write_sweep(directory, tuple(arms), baseline=experiment.baseline)


def as_the_paper_has_it(name: str, arm: ExperimentArm) -> float:
    """Return noise that falls with SmeLU and with the root of the number of components."""
    if arm.recipe.stream.shuffle == 0 and not name.endswith("init"):
        return 0.0
    smooth = 0.3 if arm.recipe.arm.activation.startswith(("smelu", "swish", "identity")) else 0.9
    return smooth * arm.recipe.arm.components**-0.5


def against_the_paper(name: str, arm: ExperimentArm) -> float:
    """Return noise that is larger with SmeLU."""
    if arm.recipe.stream.shuffle == 0 and not name.endswith("init"):
        return 0.0
    return 0.9 if arm.recipe.arm.activation.startswith("smelu") else 0.2
