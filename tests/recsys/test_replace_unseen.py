"""Activations that no module holds are named with module and line."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recsys.replace import UnseenActivationWarning, replace_activations, unseen_activations


@pytest.fixture(autouse=True)
def _no_warning_but_the_expected() -> None:
    warnings.simplefilter("error", UnseenActivationWarning)


def helper(x: Tensor) -> Tensor:
    return F.relu(x)


class Plain(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x)


class Method(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x + 1).relu_()


class Helped(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return helper(x)


class OwnMethod(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return self.squash(x)

    def squash(self, x: Tensor) -> Tensor:
        return torch.nn.functional.relu(x)


class Inherited(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 1


class Built(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return nn.ReLU()(x)


class Comprehended(nn.Module):
    def forward(self, xs: list[Tensor]) -> list[Tensor]:
        return [F.relu(x) for x in xs]


class Aliased(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        squash = torch.relu
        return squash(x)


class ImportedInside(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        from torch import relu

        return relu(x)


class ClassAttribute(nn.Module):
    squash = torch.relu

    def forward(self, x: Tensor) -> Tensor:
        return self.squash(x)


class Decorated(nn.Module):
    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x)


class HeldLambda(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.squash = lambda x: x.relu()

    def forward(self, x: Tensor) -> Tensor:
        return self.squash(x)


@pytest.mark.parametrize(
    "kind",
    [
        Plain, Method, Helped, OwnMethod, Inherited, Built, Comprehended, Aliased, ImportedInside,
        ClassAttribute, Decorated, HeldLambda,
    ],
)  # fmt: skip
def test_a_relu_in_code_is_named_with_module_and_line(kind: type[nn.Module]) -> None:
    net = nn.ModuleDict({"tower": nn.Sequential(nn.ReLU(), kind())})

    with pytest.warns(UnseenActivationWarning) as caught:
        count = replace_activations(net, "relu", "smelu")

    assert count == 1
    (message,) = [str(one.message) for one in caught]
    assert message.startswith("not replaced, because they are not attributes of a module (1):")
    assert "tower.1: " in message
    assert "relu" in message.lower()
    assert f"{__file__}:" in message


def test_the_line_named_is_the_line_of_the_call() -> None:
    (unseen,) = unseen_activations(Plain(), "relu")

    line = Plain.forward.__code__.co_firstlineno + 1
    assert str(unseen) == f"(root): torch.relu in Plain.forward ({__file__}:{line})"


class NoRelu(nn.Module):
    """Everything that looks like a use and is none."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.Linear(2, 2)
        self.block = nn.ModuleDict({"relu": nn.ReLU()})

    def forward(self, x: Tensor) -> Tensor:
        relu = self.relu(x)
        return torch.tanh(self.block.relu(relu)) if x.dim() else F.gelu(x)


def test_what_is_held_is_not_reported() -> None:
    net = NoRelu()

    assert unseen_activations(net, "relu") == ()
    assert replace_activations(net, "relu", "smelu") == 1


def test_a_traced_graph_is_searched_too() -> None:
    (unseen,) = unseen_activations(torch.fx.symbolic_trace(Plain()), "relu")

    assert unseen.use.what == "torch.relu"


def test_functions_in_plain_containers_fused_kernels_and_scripts_are_named() -> None:
    net = nn.Module()
    net.a_list = [torch.relu]
    net.a_dict = {"first": nn.ReLU()}
    net.recurrent = nn.RNN(2, 2, nonlinearity="relu")
    net.scripted = torch.jit.script(nn.Linear(2, 2))

    found = [(one.path, one.use.what) for one in unseen_activations(net, "relu")]

    assert found == [
        ("", "in the plain list 'a_list'"),
        ("", "in the plain dict 'a_dict'"),
        ("recurrent", "nonlinearity='relu' of a fused kernel"),
        ("scripted", "compiled code, which cannot be searched"),
    ]


def test_code_that_is_never_reached_from_forward_is_not_reported() -> None:
    class Unused(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x

        def other(self, x: Tensor) -> Tensor:
            return torch.relu(x)

    assert unseen_activations(Unused(), "relu") == ()
