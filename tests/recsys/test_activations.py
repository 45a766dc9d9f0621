"""Activations against the integral that defines them, finite differences and PyTorch's own."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm
from torch import Tensor, nn
from torch.nn import functional as F

from recsys import activations
from recsys.activations import (
    ACTIVATION_NAMES,
    GELU,
    Activation,
    ActivationError,
    GSmeLU,
    ReLU,
    Rescu,
    SmeLU,
    Softplus,
    Swish,
    Tanh,
    activation_beta,
    get_activation,
    gsmelu,
    rescu,
    smelu,
)
from recsys.errors import ConfigError

# The same examples each time, and no limit on how long one takes.
STEADY = settings(derandomize=True, deadline=None)
BETAS = st.floats(min_value=1e-3, max_value=1e3)
POINTS = st.floats(min_value=-50.0, max_value=50.0)
SLOPES = st.floats(min_value=-2.0, max_value=2.0)
SMOOTH = (
    "smelu(beta=0.5)",
    "gsmelu(alpha=0.5, beta=1.5, g_minus=0.1, g_plus=1.2, t=-0.3)",
    "rescu(knots=(-1, 0, 2), slopes=(0.1, 0.25, 1))",
)
EVERY = tuple(
    {"rescu": "rescu(knots=(-1, 0, 2), slopes=(0, 0.25, 1))"}.get(name, name)
    for name in ACTIVATION_NAMES
)


def wide(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def gradient(module: nn.Module, x: Tensor) -> Tensor:
    x = x.detach().clone().requires_grad_()
    module(x).sum().backward()
    assert x.grad is not None
    return x.grad


# --- SmeLU -------------------------------------------------------------------------------------


@STEADY
@given(x=POINTS, beta=BETAS)
def test_smelu_is_relu_convolved_with_a_box(x: float, beta: float) -> None:
    expected, _ = quad(lambda u: max(x + u, 0.0) / (2 * beta), -beta, beta, points=[-x])

    assert smelu(wide(x), beta).item() == pytest.approx(expected, rel=1e-9, abs=1e-9)


@STEADY
@given(x=POINTS, beta=BETAS)
def test_the_gradient_of_smelu_is_the_clipped_line(x: float, beta: float) -> None:
    expected = min(max((x + beta) / (2 * beta), 0.0), 1.0)

    assert gradient(SmeLU(beta), wide(x)).item() == pytest.approx(expected, rel=1e-12, abs=1e-12)


@STEADY
@given(x=POINTS, beta=BETAS)
def test_smelu_is_exactly_zero_on_the_left_and_exactly_x_on_the_right(
    x: float, beta: float
) -> None:
    left, right = -beta - abs(x), beta + abs(x)

    assert smelu(wide(left, right), beta).tolist() == [0.0, right]


@STEADY
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


@STEADY
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


@STEADY
@given(x=POINTS, alpha=BETAS, beta=BETAS, g_minus=SLOPES, g_plus=SLOPES, t=SLOPES)
def test_gsmelu_follows_the_three_pieces_of_the_paper(
    x: float, alpha: float, beta: float, g_minus: float, g_plus: float, t: float
) -> None:
    expected = gsmelu_of_the_paper(x, alpha, beta, g_minus, g_plus, t)

    found = gsmelu(wide(x), alpha, beta, g_minus, g_plus, t).item()

    assert found == pytest.approx(expected, rel=1e-9, abs=1e-9 * (1 + alpha + beta))


@STEADY
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


@STEADY
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


# --- derivatives ---


@pytest.mark.parametrize("name", EVERY)
def test_gradients_and_their_gradients_agree_with_finite_differences(name: str) -> None:
    module = get_activation(name)
    # Away from every knot of the above, where a second derivative jumps.
    x = wide(-2.7, -1.31, -0.77, -0.23, 0.37, 0.71, 1.29, 2.6).requires_grad_()

    assert torch.autograd.gradcheck(module, x)
    assert torch.autograd.gradgradcheck(module, x)


@pytest.mark.parametrize("name", SMOOTH)
def test_a_single_tensor_is_saved_for_the_backward_pass(name: str) -> None:
    saved: list[Tensor] = []
    x = torch.randn(4, 5, dtype=torch.bfloat16, requires_grad=True)

    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: saved.append(tensor) or tensor, lambda tensor: tensor
    ):
        get_activation(name)(x)

    assert [(one.shape, one.dtype) for one in saved] == [((4, 5), torch.bfloat16)]


# --- dtypes, shapes, special values ---


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", SMOOTH)
def test_half_precision_is_float32_rounded_once(name: str, dtype: torch.dtype) -> None:
    module = get_activation(name)
    x = torch.linspace(-3, 3, 200).to(dtype)

    assert torch.equal(module(x), module(x.float()).to(dtype))
    assert torch.equal(gradient(module, x), gradient(module, x.float()).to(dtype))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", EVERY)
def test_shape_and_dtype_are_those_of_the_input_however_it_lies_in_memory(
    name: str, dtype: torch.dtype
) -> None:
    module = get_activation(name)
    dense = torch.randn(6, 8, generator=torch.Generator().manual_seed(1)).to(dtype)

    for x in (dense, dense.t(), dense[:, ::2], dense[0, 0], dense[:0]):
        found, grad = module(x), gradient(module, x)
        assert (found.shape, found.dtype) == (x.shape, dtype)
        # PyTorch's own have other roundings where they cannot use vectors.
        torch.testing.assert_close(found, module(x.contiguous()))
        torch.testing.assert_close(grad, gradient(module, x.contiguous()))


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_units_round_alike_however_the_input_lies_in_memory(name: str) -> None:
    module = get_activation(name)
    x = torch.randn(7, 9, generator=torch.Generator().manual_seed(6)).t()[::2]

    assert torch.equal(module(x), module(x.contiguous()))
    assert torch.equal(gradient(module, x), gradient(module, x.contiguous()))


@pytest.mark.parametrize("name", EVERY)
def test_nan_stays_nan(name: str) -> None:
    found = get_activation(name)(torch.tensor([1.0, math.nan, -1.0]))

    assert found.isnan().tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("module", "at_plus", "at_minus"),
    [
        (SmeLU(0.5), math.inf, 0.0),
        (SmeLU(0), math.inf, 0.0),
        (GSmeLU(g_minus=0.1), math.inf, -math.inf),
        (Rescu((-1, 0, 1), (0, 1, 0.5), value=-3), math.inf, -3.0),
        (Rescu((-1, 1), (0.5, 0)), 0.5, -math.inf),
    ],
    ids=repr,
)
def test_infinite_inputs_have_their_limits(
    module: nn.Module, at_plus: float, at_minus: float
) -> None:
    assert module(wide(math.inf, -math.inf)).tolist() == [at_plus, at_minus]


@pytest.mark.parametrize("function", [lambda x: smelu(x, 1), lambda x: gsmelu(x, 1, 1)])
def test_integers_are_refused(function) -> None:
    with pytest.raises(TypeError, match="floating dtype"):
        function(torch.tensor([1, 2]))


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


@STEADY
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


# --- transformations of PyTorch ---


@pytest.mark.parametrize("name", SMOOTH)
def test_stacked_by_vmap_it_gives_what_each_gives_alone(name: str) -> None:
    module = get_activation(name)
    x = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(2))

    stacked = torch.func.vmap(torch.func.grad(lambda one: module(one).square().sum()))(x)

    alone = torch.stack([torch.func.grad(lambda one: module(one).square().sum())(one) for one in x])
    assert torch.equal(stacked, alone)


@pytest.mark.parametrize("name", SMOOTH)
def test_its_jacobian_is_the_diagonal_of_its_gradient(name: str) -> None:
    module = get_activation(name)
    x = wide(-2.7, -0.7, 0.3, 1.3)

    jacobian = torch.func.jacrev(module)(x)

    torch.testing.assert_close(jacobian, gradient(module, x).diag())


@pytest.mark.parametrize("name", SMOOTH)
def test_replicas_of_a_model_can_be_stacked_by_functional_call(name: str) -> None:
    make = lambda: nn.Sequential(nn.Linear(3, 4), get_activation(name), nn.Linear(4, 1))  # noqa: E731
    models = [make() for _ in range(3)]
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(7))
    parameters, buffers = torch.func.stack_module_state(models)

    stacked = torch.func.vmap(
        lambda p, b: torch.func.functional_call(models[0], (p, b), (x,)), in_dims=(0, 0)
    )(parameters, buffers)

    torch.testing.assert_close(stacked, torch.stack([model(x) for model in models]))


@pytest.mark.parametrize("name", SMOOTH)
def test_it_compiles_as_one_graph_with_its_gradient(name: str) -> None:
    module = get_activation(name)
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(3))

    # The backend that does not need a compiler: what is tested is that one graph is traced.
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")

    torch.testing.assert_close(compiled(x), module(x))
    torch.testing.assert_close(gradient(compiled, x), gradient(module, x))


def test_modules_of_one_class_and_many_betas_compile_as_one_graph() -> None:
    x = torch.randn(8, generator=torch.Generator().manual_seed(4))
    torch.compiler.reset()

    for beta in (0.0, 0.25, 0.5, 1.0):
        compiled = torch.compile(SmeLU(beta), fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(x), SmeLU(beta)(x))


@pytest.mark.parametrize("name", SMOOTH)
def test_it_can_be_exported(name: str) -> None:
    module = get_activation(name)
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(5))

    program = torch.export.export(module, (x,))

    torch.testing.assert_close(program.module()(x), module(x))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("name", EVERY)
def test_a_gpu_gives_what_the_cpu_gives(name: str) -> None:
    module = get_activation(name)
    x = torch.linspace(-4, 4, 1001)

    torch.testing.assert_close(module(x.cuda()).cpu(), module(x))
    torch.testing.assert_close(gradient(module, x.cuda()).cpu(), gradient(module, x))


# --- names ---


@pytest.mark.parametrize("name", [*EVERY, *SMOOTH, "gelu(beta=1.702)", "celu(alpha=1e-3)"])
def test_the_repr_of_an_activation_gives_it_back(name: str) -> None:
    module = get_activation(name)

    assert repr(get_activation(repr(module))) == repr(module)
    assert repr(eval(repr(module), vars(activations).copy())) == repr(module)
    assert repr(pickle.loads(pickle.dumps(module))) == repr(module)


@STEADY
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
