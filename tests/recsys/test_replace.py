"""Activations are swapped wherever a module holds them."""

from __future__ import annotations

import functools
import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchrec import EmbeddingBagCollection, EmbeddingBagConfig, KeyedJaggedTensor
from torchrec.models.dlrm import DLRM
from torchrec.modules.mlp import MLP, Perceptron

from recsys.activations import ActivationError, ReLU, SmeLU, Swish
from recsys.replace import UnseenActivationWarning, replace_activations, unseen_activations


@pytest.fixture(autouse=True)
def _no_warning_but_the_expected() -> None:
    warnings.simplefilter("error", UnseenActivationWarning)


def relu_net() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(2, 3), nn.ReLU(), nn.Sequential(nn.Linear(3, 3), nn.ReLU(inplace=True))
    )


# --- what is swapped ---


def test_children_are_replaced_at_any_depth_and_counted() -> None:
    net = relu_net()

    count = replace_activations(net, nn.ReLU, "smelu(beta=0.5)")

    assert count == 2
    assert [repr(net[1]), repr(net[2][1])] == ["SmeLU(beta=0.5)", "SmeLU(beta=0.5)"]
    assert net[1] is not net[2][1]


@pytest.mark.parametrize(
    ("held", "old"),
    [
        (nn.ReLU(), "relu"),
        (ReLU(), "ReLU"),
        (torch.relu, "relu"),
        (F.relu, "relu"),
        (torch.relu, nn.ReLU),
        (torch.relu, torch.relu),
        (nn.ReLU(), nn.ReLU),
        (ReLU(), ReLU),
        (nn.ReLU(), ("tanh", "relu")),
        (nn.ReLU(), (nn.GELU, nn.ReLU)),
    ],
)
def test_the_old_one_may_be_named_in_many_ways(held, old) -> None:
    perceptron = Perceptron(2, 3, activation=held)

    assert replace_activations(perceptron, old, "smelu") == 1
    assert isinstance(perceptron._activation_fn, SmeLU)


@pytest.mark.parametrize(
    "new", ["smelu(beta=0.25)", SmeLU(0.25), lambda: SmeLU(0.25), functools.partial(SmeLU, 0.25)]
)
def test_the_new_one_may_be_a_name_a_module_or_a_factory(new) -> None:
    net = relu_net()

    replace_activations(net, "relu", new)

    assert [repr(net[1]), repr(net[2][1])] == ["SmeLU(beta=0.25)", "SmeLU(beta=0.25)"]
    assert net[1] is not net[2][1]
    assert net[1] is not new


def test_a_class_without_parameters_is_a_factory() -> None:
    net = relu_net()

    replace_activations(net, "relu", nn.PReLU)

    assert net[1].weight is not net[2][1].weight


def test_a_shared_activation_gives_one_new_one_shared_by_the_same_places() -> None:
    shared = nn.ReLU()
    net = nn.Sequential(nn.Linear(2, 2), shared, nn.Linear(2, 2), shared, nn.ReLU())

    count = replace_activations(net, "relu", nn.PReLU)

    assert count == 3
    assert net[1] is net[3]
    assert net[4] is not net[1]


def test_a_shared_block_is_replaced_once() -> None:
    block = relu_net()
    net = nn.Sequential(block, block)

    assert replace_activations(net, "relu", "smelu") == 2


def test_only_the_old_ones_are_replaced() -> None:
    net = nn.Sequential(nn.ReLU6(), nn.Tanh(), nn.ReLU(), nn.LeakyReLU())

    assert replace_activations(net, "relu", "smelu") == 1
    assert [type(part) for part in net] == [nn.ReLU6, nn.Tanh, SmeLU, nn.LeakyReLU]


def test_functions_and_partials_held_as_attributes_are_replaced() -> None:
    mlp = MLP(4, [3, 2], activation=torch.relu)
    gelu = Perceptron(2, 2, activation=functools.partial(F.gelu, approximate="tanh"))

    assert replace_activations(mlp, "relu", "smelu(beta=2)") == 2
    assert replace_activations(gelu, "gelu", Swish()) == 1
    assert "_activation_fn" in dict(gelu.named_children())


def test_what_was_put_in_is_not_replaced_again() -> None:
    net = relu_net()

    count = replace_activations(net, "relu", lambda: nn.Sequential(nn.ReLU(), nn.ReLU()))

    assert count == 2


def test_parameters_state_and_mode_stay_as_they_were() -> None:
    net = relu_net().eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}

    replace_activations(net, "relu", "smelu")

    after = net.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(part.training for part in net.modules())


def test_a_transformer_in_evaluation_does_not_fall_back_to_its_fused_relu() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True).eval()
    x = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(1))

    replace_activations(layer, "relu", "smelu(beta=4)")

    with torch.no_grad():
        fused = layer(x)
    torch.testing.assert_close(fused, layer.train()(x))


# --- TorchRec's DLRM ---


@pytest.fixture
def dlrm() -> DLRM:
    torch.manual_seed(3)
    table = EmbeddingBagConfig(name="t", embedding_dim=4, num_embeddings=10, feature_names=["f"])
    return DLRM(
        EmbeddingBagCollection(tables=[table]),
        dense_in_features=3,
        dense_arch_layer_sizes=[5, 4],
        over_arch_layer_sizes=[6, 1],
    )


@pytest.fixture
def clicks() -> tuple[Tensor, KeyedJaggedTensor]:
    dense = torch.randn(2, 3, generator=torch.Generator().manual_seed(4))
    return dense, KeyedJaggedTensor.from_lengths_sync(
        keys=["f"], values=torch.tensor([1, 2, 3]), lengths=torch.tensor([2, 1])
    )


def test_every_relu_of_torchrecs_dlrm_is_replaced(dlrm: DLRM, clicks) -> None:
    before = dlrm(*clicks)

    count = replace_activations(dlrm, nn.ReLU, "smelu(beta=0.5)")

    held = [part._activation_fn for part in dlrm.modules() if isinstance(part, Perceptron)]
    assert count == len(held) == 3
    assert {repr(one) for one in held} == {"SmeLU(beta=0.5)"}
    assert unseen_activations(dlrm, "relu") == ()
    assert not torch.allclose(before, dlrm(*clicks))


def test_gradients_reach_every_parameter_of_a_smelu_dlrm(dlrm: DLRM, clicks) -> None:
    replace_activations(dlrm, "relu", "smelu(beta=5)")

    dlrm(*clicks).sum().backward()

    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in dlrm.parameters())


def test_a_smelu_dlrm_is_curved_where_a_relu_dlrm_is_flat(dlrm: DLRM, clicks) -> None:
    """The second derivative by the last hidden bias: 0 for ReLU, not for SmeLU."""
    dense, sparse = clicks
    hidden = dlrm.over_arch.model[0]._mlp[0]._linear.bias

    def curvature() -> float:
        (slope,) = torch.autograd.grad(dlrm(dense, sparse).sum(), hidden, create_graph=True)
        if not slope.requires_grad:
            return 0.0
        (second,) = torch.autograd.grad(slope.sum(), hidden, allow_unused=True)
        return 0.0 if second is None else second.abs().sum().item()

    with_relu = curvature()
    replace_activations(dlrm, "relu", "smelu(beta=5)")

    assert with_relu == 0.0
    assert curvature() > 0.0


# --- what is refused ---


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("rleu", "smelu", "did you mean 'relu'"),
        ("relu", "smelo", "did you mean 'smelu'"),
        (nn.Module, "smelu", "old must be"),
        (3, "smelu", "old must be"),
        ("relu", 3, "new must be"),
        ("relu", lambda: 3, "new made a int"),
    ],
)
def test_what_cannot_be_replaced_is_refused_and_nothing_is_changed(old, new, complaint) -> None:
    net = relu_net()

    with pytest.raises(ActivationError, match=complaint):
        replace_activations(net, old, new)

    assert repr(net) == repr(relu_net())


def test_an_activation_that_nothing_holds_cannot_be_replaced() -> None:
    with pytest.raises(ActivationError, match="is itself a ReLU"):
        replace_activations(nn.ReLU(), "relu", "smelu")
