"""SmeLU's kernels for GPUs give the numbers of the PyTorch operations, where they are used."""

from __future__ import annotations

import importlib
import logging
import math
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
import torch
from torch import Tensor

from recsys import native, rescu
from recsys.activations import SmeLU
from tests.support.devices import needs_gpu

SPECIAL = torch.tensor([0.0, -0.0, 0.5, -0.5, 1e-41, math.inf, -math.inf, 1e30, -1e30])
X = torch.cat([torch.linspace(-3, 3, 2051), SPECIAL])  # more than a block, and no multiple of one
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
SHAPES = {
    "whole": lambda x: x,
    "a slice": lambda x: x[::3],
    "expanded": lambda x: x[:9].expand(2, -1).t(),
    "transposed": lambda x: x[:8].reshape(2, 4).t(),
    "empty": lambda x: x[:0],
    "a number": lambda x: x[5],
}


class Recording:
    """Kernels that note that they were used, and compute in PyTorch."""

    def __init__(self) -> None:
        self.used: list[str] = []

    def smelu_value(self, x: Tensor, beta: float) -> Tensor:
        self.used.append("value")
        return rescu.smelu_value(x, beta)

    def smelu_gradient(self, above: Tensor, x: Tensor, beta: float) -> Tensor:
        self.used.append("gradient")
        return (above * rescu.smelu_slope(x, beta)).to(x.dtype)


@pytest.fixture(scope="module")
def triton() -> Iterator[ModuleType]:
    """The kernels on the CPU, through Triton's interpreter."""
    pytest.importorskip("triton", reason="Triton is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        patch.delitem(sys.modules, "recsys.triton_smelu", raising=False)
        yield importlib.import_module("recsys.triton_smelu")
    sys.modules.pop("recsys.triton_smelu", None)


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> Recording:
    """Kernels for whatever tensor, as if it were on a GPU."""
    found = Recording()
    monkeypatch.setattr(rescu, "operators_for", lambda x: None)
    monkeypatch.setattr(rescu, "gpu_kernels_for", lambda x, beta: found)
    return found


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process that has not looked for kernels yet, and whose environment switches none off."""
    monkeypatch.delenv("SOLOIST_NATIVE", raising=False)
    native.gpu_kernels.cache_clear()
    yield
    native.gpu_kernels.cache_clear()


def outcome(x: Tensor, beta: float) -> list[Tensor]:
    """Value and gradient of SmeLU, for a gradient from above that differs between elements."""
    x = x.detach().requires_grad_()
    value = SmeLU(beta)(x)
    above = torch.arange(x.numel(), device=x.device).cos().to(x.dtype).reshape(x.shape)
    (gradient,) = torch.autograd.grad(value, x, above)
    return [value.detach(), gradient]


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    # Triton's interpreter cuts bfloat16 off where a GPU rounds it.
    [(torch.float32, 0.0), (torch.float16, 0.0), (torch.bfloat16, 2**-7)],
)
@pytest.mark.parametrize("beta", [0.5, 1.0, 3.0])
def test_kernels_and_pytorch_agree_bit_for_bit(triton, dtype, tolerance, beta) -> None:
    x = X.to(dtype)
    above = torch.arange(len(x)).cos().to(dtype)

    value, gradient = triton.smelu_value(x, beta), triton.smelu_gradient(above, x, beta)

    torch.testing.assert_close(value, rescu.smelu_value(x, beta), rtol=tolerance, atol=0)
    expected = (above * rescu.smelu_slope(x, beta)).to(dtype)
    torch.testing.assert_close(gradient, expected, rtol=tolerance, atol=0)


@pytest.mark.parametrize("shaped", SHAPES.values(), ids=SHAPES.keys())
def test_kernels_take_tensors_as_they_lie(triton, monkeypatch, shaped) -> None:
    expected = outcome(shaped(X), 0.5)
    monkeypatch.setattr(rescu, "operators_for", lambda x: None)
    monkeypatch.setattr(rescu, "gpu_kernels_for", lambda x, beta: triton)

    found = outcome(shaped(X), 0.5)

    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])
    assert found[0].stride() == expected[0].stride()


def test_a_broadcast_gradient_from_above_is_taken_as_it_is(triton) -> None:
    x = torch.linspace(-2, 2, 9)

    found = triton.smelu_gradient(torch.ones(()).expand(9), x, 1.0)

    torch.testing.assert_close(found, ((x + 1) / 2).clamp(0, 1))


def test_kernels_let_nan_pass(triton) -> None:
    x = torch.full((5,), math.nan)

    assert triton.smelu_value(x, 1.0).isnan().all()
    assert triton.smelu_gradient(torch.ones(5), x, 1.0).isnan().all()


def test_kernels_are_used_forward_and_backward(on_gpu) -> None:
    outcome(X, 1.0)

    assert on_gpu.used == ["value", "gradient"]


def test_a_gradient_of_a_gradient_goes_through_pytorch(on_gpu) -> None:
    x = torch.tensor([-2.7, -0.7, 0.2, 2.6], dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradgradcheck(SmeLU(), x)
    assert "gradient" not in on_gpu.used


def test_they_leave_alone_what_is_not_on_a_gpu(monkeypatch) -> None:
    monkeypatch.setattr(native, "gpu_kernels", Recording)

    assert native.gpu_kernels_for(torch.zeros(2), 1.0) is None


def test_without_triton_one_line_says_so_and_pytorch_does_the_work(
    fresh, monkeypatch, caplog
) -> None:
    monkeypatch.setitem(sys.modules, "recsys.triton_smelu", None)
    monkeypatch.delattr("recsys.triton_smelu", raising=False)

    with caplog.at_level(logging.WARNING):
        found = [native.smelu_on_gpu() for _ in range(2)]

    assert found == ["pytorch", "pytorch"]
    (record,) = caplog.records
    assert record.getMessage().startswith("SmeLU runs on the GPU in PyTorch operations")


def test_kernels_can_be_switched_off(fresh, monkeypatch, caplog) -> None:
    monkeypatch.setenv("SOLOIST_NATIVE", "0")

    assert native.smelu_on_gpu() == "pytorch"
    assert caplog.records == []


@needs_gpu
def test_a_gpu_has_the_kernels(fresh) -> None:
    assert native.smelu_on_gpu() == "Triton"


@needs_gpu
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shaped", SHAPES.values(), ids=SHAPES.keys())
def test_on_a_gpu_kernels_and_pytorch_agree_bit_for_bit(monkeypatch, dtype, shaped) -> None:
    x = shaped(X.to("cuda", dtype))
    found = outcome(x, 0.5)
    monkeypatch.setattr(rescu, "gpu_kernels_for", lambda x, beta: None)

    expected = outcome(x, 0.5)

    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


@needs_gpu
def test_on_a_gpu_they_leave_alone_what_they_are_not_made_for(fresh) -> None:
    x = torch.zeros(2, device="cuda")
    used: list[bool] = []

    def record(x: Tensor) -> Tensor:
        used.append(native.gpu_kernels_for(x, 1.0) is not None)
        return x * 1

    record(x)
    record(x.double())
    torch.func.vmap(record)(x.unsqueeze(0))

    assert used == [True, False, False]
    assert native.gpu_kernels_for(x, 1e-40) is None


@needs_gpu
def test_on_a_gpu_the_same_numbers_come_as_on_the_cpu() -> None:
    found, expected = outcome(X.cuda(), 0.5), outcome(X, 0.5)

    assert native.operators_for(X.cuda()) is None
    torch.testing.assert_close(found[0].cpu(), expected[0])
    torch.testing.assert_close(found[1].cpu(), expected[1])
