"""What the beta finding says of SmeLU, of the other families and of the linear limit."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.findings import beta
from analysis.findings.finding import Measured
from analysis.intervals import Units
from analysis.results import ArmResults
from analysis.summary import Estimates

BETAS = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
WORSE = (1.3, 0.03)
SAME = (1.0, 0.0)
BETTER = (0.7, -0.03)
#: The t interval of 95 % leaves no difference out, that of 99.3 % does not.
BARELY = (0.9575, -0.0085)


def units(mean: float, scatter: float, seed: int, order: int = 1) -> Units:
    noise = np.random.default_rng(seed).normal(size=8)
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    values = mean + scatter * noise
    if order == 2:
        first, second = np.triu_indices(8, 1)
        values = (values[first] + values[second]) / 2
    return Units(
        values=values,
        influence=np.zeros((len(values), 50)),
        replicas=tuple(range(8)),
        order=order,
        clusters=50.0,
    )


def estimates(effect: tuple[float, float], seed: int) -> Estimates:
    relative, difference = effect
    return Estimates(
        log_loss=units(0.63 + difference, 0.01 if seed else 1e-6, seed),
        ranking_loss=units(0.3, 0.01, seed),
        relative_pd=units(0.1 * relative, 0.0025 if seed else 1e-6, seed, order=2),
    )


def arm(name: str, activation: str, value: float = float("nan")) -> ArmResults:
    return ArmResults(
        name=name,
        places=(),
        done=(),
        kind="single",
        model="",
        activation=activation,
        beta=value,
        components=1,
    )


def verdict(
    smelu: dict[float, tuple[float, float]],
    others: tuple[float, float] = SAME,
    linear: tuple[float, float] = WORSE,
) -> str:
    effects = {
        "relu": (arm("relu", "relu"), SAME),
        "identity": (arm("identity", "identity"), linear),
    }
    for value in BETAS:
        for activation in beta.TITLES:
            name = f"{activation}_{value:g}"
            effect = smelu.get(value, SAME) if activation == "smelu" else others
            effects[name] = arm(name, activation, value), effect
    found = Measured(
        arms={name: each for name, (each, _) in effects.items()},
        estimates={
            name: estimates(effect, seed)
            for seed, (name, (_, effect)) in enumerate(effects.items())
        },
    )
    finding = beta.find(found)
    assert finding.reading[0] == beta.CHOSEN
    return finding.verdict


@pytest.mark.parametrize(
    ("smelu", "expected"),
    [
        ({1.0: BETTER}, "**For the paper**: PD and log loss are lower at once for SmeLU(1)."),
        ({1.0: WORSE}, "**Against the paper**, at least in part: PD is higher than ReLU's for "),
        ({1.0: BETTER, 8.0: WORSE}, "**For the paper** in part: PD and log loss are lower at once"),
        ({1.0: (0.7, 0.03)}, "**Not shown**: no β of SmeLU has both"),
        ({}, "**Not shown**: no β of SmeLU has both"),
    ],
)
def test_the_verdict_follows_what_smelu_is_told_to_do(smelu, expected):
    assert verdict(smelu).startswith(expected)


@pytest.mark.parametrize("others", [BETTER, WORSE])
def test_other_families_are_context_and_never_the_verdict(others):
    said = verdict({}, others=others)
    assert said.startswith("**Not shown**")
    assert f"PD is lower for {21 if others == BETTER else 0} and higher for " in said


def test_one_beta_that_only_an_unadjusted_interval_settles_is_not_enough():
    assert "are lower for Swish(0.125)" in verdict({}, others=BARELY)
    assert verdict(dict.fromkeys(BETAS, BARELY)).startswith("**Not shown**")


def test_a_linear_limit_that_is_no_worse_than_relu_is_said_in_the_verdicts_sentence():
    caveat = "does not tell smoothness from being closer to linear."
    assert caveat in verdict({1.0: BETTER}, linear=BETTER)
    assert caveat in verdict({1.0: BETTER}, linear=SAME)
    assert caveat not in verdict({1.0: BETTER}, linear=(0.7, 0.03))
    assert caveat not in verdict({1.0: BETTER}, linear=(1.3, -0.03))
