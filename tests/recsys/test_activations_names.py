"""Activations by name: what their names mean, keep and refuse."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from recsys import activations
from recsys.activations import (
    Activation,
    ActivationError,
    GSmeLU,
    ReLU,
    SmeLU,
    Swish,
    Tanh,
    activation_beta,
    get_activation,
    smelu,
)
from recsys.errors import ConfigError
from tests.support.activations import EVERY, SMOOTH, wide


@pytest.mark.parametrize("name", [*EVERY, *SMOOTH, "gelu(beta=1.702)", "celu(alpha=1e-3)"])
def test_the_repr_of_an_activation_gives_it_back(name: str) -> None:
    module = get_activation(name)

    assert repr(get_activation(repr(module))) == repr(module)
    assert repr(eval(repr(module), vars(activations).copy())) == repr(module)
    assert repr(pickle.loads(pickle.dumps(module))) == repr(module)


@given(beta=st.floats(min_value=0, allow_infinity=False))
def test_the_repr_keeps_every_digit_of_beta(beta: float) -> None:
    assert activation_beta(repr(SmeLU(beta))) == beta


def test_parameters_may_stand_in_the_string_or_beside_it() -> None:
    assert repr(get_activation("smelu", beta=0.5)) == "SmeLU(beta=0.5)"
    assert repr(get_activation(" SmeLU( beta = 5e-1 ) ")) == "SmeLU(beta=0.5)"
    assert repr(get_activation("gsmelu(alpha=2)", t=np.float32(0.5))) == (
        "GSmeLU(alpha=2.0, beta=1.0, g_minus=0.0, g_plus=1.0, t=0.5)"
    )


def test_every_module_is_an_activation_without_state() -> None:
    modules = [get_activation(name) for name in EVERY]

    assert all(isinstance(module, Activation) for module in modules)
    assert not any(module.state_dict() for module in modules)


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ("smelo", "no activation 'smelo', did you mean 'smelu'"),
        ("smelu(bta=1)", "smelu has no parameter 'bta', did you mean 'beta'"),
        ("relu(beta=1)", "relu has no parameter 'beta'; it takes none"),
        ("smelu(beta=-0.5)", "beta must not be below 0, found -0.5"),
        ("smelu(beta=nan)", "beta must be a plain value, found 'nan'"),
        ("smelu(beta=1e999)", "beta must be finite, found inf"),
        ("smelu(beta='wide')", "beta must be a number, found 'wide'"),
        ("smelu(beta=True)", "beta must be a number, found True"),
        ("smelu(0.5)", "with its parameters named"),
        ("smelu(**{'beta': 1})", "with its parameters named"),
        ("smelu beta=1", "cannot be read"),
        ("smelu(beta=__import__('os').getpid())", "beta must be a plain value"),
        ("", "cannot be read"),
        ("swish(beta=0)", "beta must be above 0"),
        ("gsmelu(alpha=-1)", "alpha must not be below 0"),
        ("rescu", "rescu needs a value for 'knots'"),
        ("rescu(knots=1, slopes=2)", "knots must be a list of numbers"),
        ("rescu(knots=(1, 1), slopes=(0, 1))", "knots must be two or more that increase"),
        ("rescu(knots=(0, 1), slopes=(0, 1, 1))", "as many as the 2 knots, found 3"),
        (None, "named by a string, found None"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused_with_what_would_work(written, complaint) -> None:
    with pytest.raises(ActivationError) as refused:
        get_activation(written)

    assert complaint in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_refusal_is_a_configuration_error_and_a_value_error() -> None:
    assert issubclass(ActivationError, ConfigError)
    assert issubclass(ActivationError, ValueError)


def test_a_parameter_given_twice_is_refused() -> None:
    with pytest.raises(ActivationError, match="beta is given twice"):
        get_activation("smelu(beta=1)", beta=2)


@pytest.mark.parametrize("beta", [-1e-9, math.nan, math.inf, -math.inf])
def test_smelu_refuses_a_beta_that_is_no_half_width(beta: float) -> None:
    with pytest.raises(ValueError, match="beta must"):
        smelu(wide(1.0), beta)
    with pytest.raises(ValueError, match="beta must"):
        SmeLU(beta)


def test_the_beta_of_an_activation_is_known_where_there_is_one() -> None:
    assert activation_beta("smelu(beta=0.25)") == 0.25
    assert activation_beta(Swish(3)) == 3.0
    assert activation_beta(GSmeLU(alpha=1, beta=2)) == 2.0
    assert activation_beta("relu") is None
    assert activation_beta(Tanh()) is None
    assert activation_beta(nn.ReLU()) is None


def test_relu_takes_no_parameter() -> None:
    with pytest.raises(TypeError):
        ReLU(beta=1.0)  # type: ignore[call-arg]
