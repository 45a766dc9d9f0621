"""Networks stacked through torch.func, vectorised and one after another."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from recsys.models.built_in import Stacked

N, B, D, C = 3, 4, 2, 5
DENSE = torch.randn(N, B, D, generator=torch.Generator().manual_seed(1))
EMBEDDED = torch.randn(N, B, C, generator=torch.Generator().manual_seed(2))


class Peculiar(nn.Module):
    """A module in two places, a weight tied to two modules, a frozen weight, two kinds of state."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(D, C)
        self.again = self.first
        self.tied = nn.Linear(D, C)
        self.tied.weight = self.first.weight
        self.frozen = nn.Parameter(torch.rand(C), requires_grad=False)
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("average", torch.zeros(()))
        self.register_buffer("order", torch.randperm(C))

    def forward(self, dense: Tensor, embedded: Tensor) -> Tensor:
        self.seen += len(dense)  # in place
        self.average = 0.5 * self.average + embedded.detach().mean()  # assigned anew
        hidden = self.first(dense) + self.again(dense) * self.tied(dense)
        return ((hidden * embedded)[:, self.order] * self.frozen).sum(1) + self.average


def _networks() -> list[nn.Module]:
    torch.manual_seed(0)
    return [Peculiar() for _ in range(N)]


@pytest.mark.parametrize("vectorised", [True, False])
def test_a_stack_computes_and_learns_what_its_networks_do(vectorised) -> None:
    alone = _networks()
    stack = Stacked(copy.deepcopy(alone), vectorised=vectorised)
    optimizers = [torch.optim.SGD(module.parameters(), 1e-3) for module in (*alone, stack)]

    for _ in range(3):
        together = stack(DENSE, EMBEDDED)
        one_by_one = [
            one(dense, embedded)
            for one, dense, embedded in zip(alone, DENSE, EMBEDDED, strict=True)
        ]
        torch.testing.assert_close(together, torch.stack(one_by_one).unsqueeze(-1))
        (together.square().sum() + sum(one.square().sum() for one in one_by_one)).backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()

    for i, one in enumerate(alone):
        for name, tensor in one.state_dict().items():
            torch.testing.assert_close(stack.frame.state_dict()[name][i], tensor)


def test_tied_weights_are_one_parameter_and_frozen_ones_stay_frozen() -> None:
    stack = Stacked(_networks(), vectorised=True)

    assert [(name, tuple(one.shape)) for name, one in stack.named_parameters()] == [
        ("frame.frozen", (N, C)),
        ("frame.first.weight", (N, C, D)),
        ("frame.first.bias", (N, C)),
        ("frame.tied.bias", (N, C)),
    ]
    assert not stack.frame.frozen.requires_grad
    assert stack.frame.tied.weight is stack.frame.first.weight


def _dropping(seeds: list[int]) -> Stacked:
    networks = []
    for seed in seeds:
        torch.manual_seed(seed)
        networks.append(_Dropping())
    return Stacked(networks, vectorised=False, draws=[(seed, "tower") for seed in seeds])


class _Dropping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Sequential(nn.Dropout(0.5), nn.Linear(C, 1))

    def forward(self, dense: Tensor, embedded: Tensor) -> Tensor:
        return self.out(embedded)


def test_each_network_draws_numbers_of_its_own_whatever_its_company() -> None:
    together, alone = _dropping([4, 5]), _dropping([5])

    for _ in range(2):
        both = together(DENSE[:2], EMBEDDED[:1].expand(2, -1, -1))
        assert torch.equal(both[1], alone(DENSE[:1], EMBEDDED[:1])[0])


def test_numbers_drawn_differ_from_batch_to_batch_and_go_on_from_a_saved_state() -> None:
    stack, resumed = _dropping([4]), _dropping([4])

    first, second = (stack(DENSE[:1], EMBEDDED[:1]) for _ in range(2))
    resumed.load_state_dict(stack.state_dict())

    assert not torch.equal(first, second)
    assert torch.equal(stack(DENSE[:1], EMBEDDED[:1]), resumed(DENSE[:1], EMBEDDED[:1]))


def test_drawing_leaves_the_global_generator_as_it_was() -> None:
    stack = _dropping([4])
    before = torch.get_rng_state()

    stack(DENSE[:1], EMBEDDED[:1])

    assert torch.equal(torch.get_rng_state(), before)


def test_networks_taken_apart_answer_as_they_did_in_the_stack_and_keep_their_ties() -> None:
    stack = Stacked(_networks(), vectorised=True)
    together = stack(DENSE, EMBEDDED)

    apart = stack.apart()

    for network in apart:
        network.average.zero_()
    one_by_one = [
        one(dense, embedded) for one, dense, embedded in zip(apart, DENSE, EMBEDDED, strict=True)
    ]
    torch.testing.assert_close(together, torch.stack(one_by_one).unsqueeze(-1))
    assert all(one.again is one.first for one in apart)
    assert all(one.tied.weight is one.first.weight for one in apart)
    assert [one.frozen.requires_grad for one in apart] == [False] * N
