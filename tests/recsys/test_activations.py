"""Activations against the integral that defines them, and PyTorch's own."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm
from torch import nn
from torch.nn import functional as F

from recsys.activations import (
    GELU,
    GSmeLU,
    Rescu,
    SmeLU,
    Softplus,
    Swish,
    get_activation,
    gsmelu,
    rescu,
    smelu,
)
from tests.support.activations import BETAS, POINTS, SLOPES, SMOOTH, gradient, wide

# --- SmeLU -------------------------------------------------------------------------------------


@given(x=POINTS, beta=BETAS)
def test_smelu_is_relu_convolved_with_a_box(x: float, beta: float) -> None:
    expected, _ = quad(lambda u: max(x + u, 0.0) / (2 * beta), -beta, beta, points=[-x])

    assert smelu(wide(x), beta).item() == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(x=POINTS, beta=BETAS)
def test_the_gradient_of_smelu_is_the_clipped_line(x: float, beta: float) -> None:
    expected = min(max((x + beta) / (2 * beta), 0.0), 1.0)

    assert gradient(SmeLU(beta), wide(x)).item() == pytest.approx(expected, rel=1e-12, abs=1e-12)


@given(x=POINTS, beta=BETAS)
def test_smelu_is_exactly_zero_on_the_left_and_exactly_x_on_the_right(
    x: float, beta: float
) -> None:
    left, right = -beta - abs(x), beta + abs(x)

    assert smelu(wide(left, right), beta).tolist() == [0.0, right]


@given(beta=st.floats(min_value=1e-30, max_value=1e30))
def test_float32_smelu_has_the_precision_of_float32_at_any_beta(beta: float) -> None:
    x = torch.linspace(-1.5, 1.5, 61) * beta

    expected = torch.where(
        x.double() < beta, (x.double() + beta).clamp(min=0) ** 2 / (4 * beta), x.double()
    )

    torch.testing.assert_close(smelu(x, beta).double(), expected, rtol=1e-5, atol=1e-7 * beta)


def test_with_beta_zero_smelu_is_relu_in_value_and_gradient() -> None:
    x = wide(-2.0, -1e-300, -0.0, 0.0, 1e-300, 2.0, math.inf, -math.inf)

    assert torch.equal(smelu(x, 0), torch.relu(x))
    assert torch.equal(gradient(SmeLU(0), x), gradient(nn.ReLU(), x))


def test_a_beta_too_small_for_the_dtype_gives_relu_and_no_nan() -> None:
    x = torch.tensor([-1.0, -1e-42, 0.0, 1e-42, 1.0])

    torch.testing.assert_close(smelu(x, 1e-300), torch.relu(x))
    assert torch.equal(gradient(SmeLU(1e-300), x), gradient(nn.ReLU(), x))


@given(x=POINTS)
def test_a_wide_smelu_approaches_a_line_of_slope_one_half(x: float) -> None:
    beta = 1e7

    assert smelu(wide(x), beta).item() == pytest.approx(x / 2 + beta / 4, abs=1e-3)
    assert gradient(SmeLU(beta), wide(x)).item() == pytest.approx(0.5, abs=1e-5)


# --- gSmeLU and RESCU ---------------------------------------------------------------------------


def gsmelu_of_the_paper(
    x: float, alpha: float, beta: float, g_minus: float, g_plus: float, t: float
) -> float:
    """Shamir, Lin & Coviello 2020: the three pieces as they are printed."""
    if x <= -alpha:
        return g_minus * x + t + g_minus * alpha
    if x > beta:
        return g_plus * x + t + g_minus * (alpha + beta) / 2 + g_plus * (alpha - beta) / 2
    a = (g_plus - g_minus) / (2 * (alpha + beta))
    b = (alpha * g_plus + beta * g_minus) / (alpha + beta)
    c = t + (alpha**2 * (g_plus + g_minus) + 2 * alpha * beta * g_minus) / (2 * (alpha + beta))
    return a * x**2 + b * x + c


@given(x=POINTS, alpha=BETAS, beta=BETAS, g_minus=SLOPES, g_plus=SLOPES, t=SLOPES)
def test_gsmelu_follows_the_three_pieces_of_the_paper(
    x: float, alpha: float, beta: float, g_minus: float, g_plus: float, t: float
) -> None:
    expected = gsmelu_of_the_paper(x, alpha, beta, g_minus, g_plus, t)

    found = gsmelu(wide(x), alpha, beta, g_minus, g_plus, t).item()

    assert found == pytest.approx(expected, rel=1e-9, abs=1e-9 * (1 + alpha + beta))


@given(x=POINTS, beta=BETAS)
def test_gsmelu_between_slopes_zero_and_one_is_smelu(x: float, beta: float) -> None:
    found = gsmelu(wide(x), alpha=beta, beta=beta, g_minus=0, g_plus=1, t=0)

    assert found.item() == pytest.approx(smelu(wide(x), beta).item(), rel=1e-12, abs=1e-12)
    assert torch.equal(
        gradient(GSmeLU(alpha=beta, beta=beta), wide(x)), gradient(SmeLU(beta), wide(x))
    )


@pytest.mark.parametrize(("alpha", "beta"), [(0.0, 2.0), (2.0, 0.0)])
def test_one_half_width_of_gsmelu_may_be_zero(alpha: float, beta: float) -> None:
    x = np.linspace(-4, 4, 33)

    expected = [gsmelu_of_the_paper(one, alpha, beta, 0.1, 1.0, 0.5) for one in x]

    found = gsmelu(torch.from_numpy(x), alpha, beta, 0.1, 1.0, 0.5)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_gsmelu_without_width_is_a_kink_with_the_left_slope_at_zero() -> None:
    module = GSmeLU(alpha=0, beta=0, g_minus=0.1, g_plus=2, t=0.5)
    x = wide(-3.0, 0.0, 3.0)

    assert module(x).tolist() == pytest.approx([0.2, 0.5, 6.5])
    assert gradient(module, x).tolist() == pytest.approx([0.1, 0.1, 2.0])


KNOTS = st.lists(
    st.tuples(st.floats(min_value=0.01, max_value=5.0), SLOPES), min_size=2, max_size=6
)


@given(steps=KNOTS, x=st.floats(min_value=-20, max_value=20))
def test_rescu_is_the_integral_of_its_piecewise_linear_gradient(
    steps: list[tuple[float, float]], x: float
) -> None:
    knots = tuple(np.cumsum([step for step, _ in steps]) - 5.0)
    slopes = tuple(slope for _, slope in steps)

    expected, _ = quad(np.interp, knots[0], x, args=(knots, slopes), points=knots, limit=200)

    assert rescu(wide(x), knots, slopes, value=0.25).item() == pytest.approx(
        0.25 + expected, abs=1e-7
    )
    assert gradient(Rescu(knots, slopes), wide(x)).item() == pytest.approx(
        np.interp(x, knots, slopes), abs=1e-9
    )


@pytest.mark.parametrize("name", SMOOTH)
def test_value_and_gradient_are_continuous_at_the_knots(name: str) -> None:
    module = get_activation(name)
    knots = wide(-1.0, -0.5, 0.0, 0.5, 1.5, 2.0)
    before, after = knots - 1e-12, knots + 1e-12

    torch.testing.assert_close(module(before), module(after), rtol=0, atol=1e-11)
    torch.testing.assert_close(
        gradient(module, before), gradient(module, after), rtol=0, atol=1e-11
    )


# --- the usual ones ---


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("relu", F.relu), ("tanh", torch.tanh), ("mish", F.mish), ("selu", F.selu),
        ("celu(alpha=0.7)", lambda x: F.celu(x, 0.7)), ("elu(alpha=0.7)", lambda x: F.elu(x, 0.7)),
        ("identity", lambda x: x), ("swish", F.silu), ("gelu", F.gelu), ("softplus", F.softplus),
    ],
)  # fmt: skip
def test_the_usual_activations_are_those_of_pytorch(name: str, reference) -> None:
    x = torch.linspace(-5, 5, 101)

    torch.testing.assert_close(get_activation(name)(x), reference(x))


@given(x=POINTS, beta=BETAS)
def test_swish_softplus_and_gelu_follow_their_formulas(x: float, beta: float) -> None:
    z = beta * x

    assert Swish(beta)(wide(x)).item() == pytest.approx(
        x * math.exp(-np.logaddexp(0.0, -z)), rel=1e-9, abs=1e-12
    )
    assert Softplus(beta)(wide(x)).item() == pytest.approx(
        np.logaddexp(0.0, z) / beta, rel=1e-9, abs=1e-12
    )
    assert GELU(beta)(wide(x)).item() == pytest.approx(x * norm.cdf(z), rel=1e-6, abs=1e-12)
