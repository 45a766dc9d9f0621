"""Each built-in model against plain, unstacked PyTorch with the same weights."""

from __future__ import annotations

from functools import partial
from itertools import combinations

import pytest
import torch
from torch.nn.functional import relu

from recsys.activations import smelu
from recsys.models.blueprint import Shape
from recsys.models.built_in import DLRM, MLP, DCNv2, DeepFM
from recsys.models.config import DCNv2Config, DeepFMConfig, DLRMConfig, MLPConfig
from tests.support.networks import assert_each_equals, plain_mlp

N, B, T, E = 3, 5, 4, 4


def _shape(*, dense: int = 2, heads: int = 1, activation: str = "relu") -> Shape:
    return Shape(
        sparse_features=T,
        dense_features=dense,
        embedding_dim=E,
        heads=heads,
        activation=activation,
    )


def _generators(n: int = N) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(i) for i in range(n)]


def _inputs(dense: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    numbers = torch.Generator().manual_seed(99)
    return (
        torch.randn(N, B, dense, generator=numbers),
        torch.randn(N, B, T * E, generator=numbers),
    )


@pytest.mark.parametrize("layer_norm", [True, False])
@pytest.mark.parametrize("heads", [1, 2])
def test_mlp(layer_norm, heads) -> None:
    config = MLPConfig(hidden=(6, 5), layer_norm=layer_norm)
    stack = MLP(config, _shape(heads=heads, activation="smelu(beta=0.5)"), _generators())

    def reference(weights, dense, embedded):
        x = torch.cat((embedded, dense), 1)
        return plain_mlp(
            weights, "tower", x, partial(smelu, beta=0.5), hidden=2, layer_norm=layer_norm
        )

    assert_each_equals(stack, reference, *_inputs())


@pytest.mark.parametrize("dense", [0, 2])
def test_dlrm(dense) -> None:
    config = DLRMConfig(hidden=(6,), bottom=(3,))
    stack = DLRM(config, _shape(dense=dense), _generators())

    def reference(weights, dense, embedded):
        vectors, passed_on = list(embedded.split(E, 1)), embedded
        if dense.shape[1]:
            passed_on = plain_mlp(
                weights, "bottom", dense, relu, hidden=2, layer_norm=True, ends_hidden=True
            )
            vectors = [passed_on, *vectors]
        pairs = [(vectors[i] * vectors[j]).sum(1) for i in range(len(vectors)) for j in range(i)]
        x = torch.cat((passed_on, torch.stack(pairs, 1)), 1)
        return plain_mlp(weights, "top", x, relu, hidden=1, layer_norm=True)

    assert_each_equals(stack, reference, *_inputs(dense))


@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("structure", ["stacked", "parallel"])
@pytest.mark.parametrize("heads", [1, 2])
def test_dcnv2(structure, rank, heads) -> None:
    config = DCNv2Config(hidden=(6, 5), cross_layers=2, rank=rank, structure=structure)
    stack = DCNv2(config, _shape(heads=heads), _generators())

    def reference(weights, dense, embedded):
        x0 = crossed = torch.cat((embedded, dense), 1)
        for layer in ("crosses.0", "crosses.1"):
            u, v = weights[f"{layer}.u.weight"].T, weights[f"{layer}.v.weight"]
            full_rank = u @ v.T
            crossed = x0 * (crossed @ full_rank.T + weights[f"{layer}.u.bias"]) + crossed
        if structure == "stacked":
            return plain_mlp(weights, "tower", crossed, relu, hidden=2, layer_norm=True)
        deep = plain_mlp(weights, "tower", x0, relu, hidden=2, layer_norm=True, ends_hidden=True)
        return torch.cat((crossed, deep), 1) @ weights["head.weight"] + weights["head.bias"]

    assert_each_equals(stack, reference, *_inputs())


@pytest.mark.parametrize("dense", [0, 2])
@pytest.mark.parametrize("heads", [1, 2])
def test_deepfm(dense, heads) -> None:
    config = DeepFMConfig(hidden=(6,), layer_norm=False)
    stack = DeepFM(config, _shape(dense=dense, heads=heads), _generators())

    def reference(weights, dense, embedded):
        fields = list(embedded.split(E, 1))
        fields += [dense[:, [j]] * weights["dense_rows"][j] for j in range(dense.shape[1])]
        vectors = [field[:, : E - 1] for field in fields]
        first = sum(field[:, E - 1] for field in fields)
        second = sum((one * other).sum(1) for one, other in combinations(vectors, 2))
        x = torch.cat(vectors, 1)
        deep = plain_mlp(weights, "tower", x, relu, hidden=1, layer_norm=False)
        return deep + (first + second)[:, None]

    assert_each_equals(stack, reference, *_inputs(dense))


@pytest.mark.parametrize(
    ("network", "config"),
    [(MLP, MLPConfig()), (DLRM, DLRMConfig()), (DCNv2, DCNv2Config()), (DeepFM, DeepFMConfig())],
)
def test_a_network_starts_alike_alone_and_in_company(network, config) -> None:
    together = network(config, _shape(), _generators())
    alone = network(config, _shape(), _generators()[1:2])

    for name, weight in alone.named_parameters():
        assert torch.equal(weight[0], together.get_parameter(name)[1])
