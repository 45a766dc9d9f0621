"""Studies of synthetic arms whose noise is known."""

from __future__ import annotations

from pathlib import Path

from analysis.results.study_design import StudyDesign, StudyPoint
from jobs.experiment.loading import load_experiment
from jobs.experiment.planning import activation_columns
from jobs.experiment.schema import study_design
from tests.support.results import SyntheticArm, write_sweep

BETAS = (0.5, 1.0, 2.0)


def arm_name(activation: str, beta: float) -> str:
    """Return the name of an arm of ``beta_arms``."""
    return f"{activation}_{beta:g}".replace(".", "_")


def beta_design(reference: str | None = "relu") -> StudyDesign:
    """Return the design of ``beta_arms``: two activations at three values of β, beside ReLU."""
    points = [StudyPoint(arm="relu", series="relu", x=None, reference=None)]
    points += [
        StudyPoint(arm=arm_name(name, beta), series=name, x=beta, reference=reference)
        for name in ("smelu", "swish")
        for beta in BETAS
    ]
    return StudyDesign(
        question="Is smoother better?", x="activation.beta", reference="relu", points=tuple(points)
    )


def beta_arms(**others: object) -> tuple[SyntheticArm, ...]:
    """Return arms of which SmeLU's noise falls with β, and Swish's is ReLU's at all of them."""
    arms = [SyntheticArm(name="relu", noise=0.8)]
    for beta in BETAS:
        arms += [
            SyntheticArm(
                name=arm_name("smelu", beta), noise=0.6 / beta, activation="smelu", beta=beta
            ),
            SyntheticArm(name=arm_name("swish", beta), noise=0.8, activation="swish", beta=beta),
        ]
    return tuple(SyntheticArm(**{**vars(arm), **others}) for arm in arms)


def write_shipped(directory: Path, name: str, replicas: int = 3) -> Path:
    """Write a synthetic sweep of a shipped experiment that declares a study."""
    experiment = load_experiment(name)
    assert experiment.study is not None
    arms = []
    for arm_name, arm in experiment.arms.items():
        activation, beta = activation_columns(arm.recipe.arm.activation)
        arms.append(
            SyntheticArm(
                name=arm_name,
                noise=0.3 if activation == "smelu" else 0.9,
                wrong=0.2,
                kind=arm.recipe.arm.kind,
                activation=activation,
                beta=beta,
                replicas=replicas,
            )
        )
    study = study_design(experiment, experiment.study)
    return write_sweep(directory, tuple(arms), baseline=experiment.baseline, study=study)
