"""Activations for every dtype, layout and special value, and under PyTorch's transformations."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from recsys.activations import GSmeLU, Rescu, SmeLU, get_activation, gsmelu, smelu
from tests.support.activations import EVERY, SMOOTH, gradient, wide

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
