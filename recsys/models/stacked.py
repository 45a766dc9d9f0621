"""n networks, each written for itself, as one module with a leading dimension."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from recsys.models.blueprint import SeedPath
from recsys.seeds import global_draws

Weights = dict[str, Tensor]


class Stacked(nn.Module):
    """n networks that each take ``(B, D)`` and ``(B, C)``: together ``(n, B, D)``, ``(n, B, C)``.

    One returns logits ``(B,)`` or ``(B, heads)``; together they return ``(n, B, heads)``. Weights
    and buffers are stacked in tensors of their own with n as first dimension.

    Args:
        networks: the n, alike in all but the values of weights and buffers; taken over.
        vectorised: all run as one, through ``torch.func.vmap``; else one after another.
        draws: where given, network i draws its random numbers (dropout) from path ``draws[i]`` and
            from how many batches it was trained on, whatever its company. Not with ``vectorised``.
    """

    batches_trained: Tensor | None

    def __init__(
        self,
        networks: Sequence[nn.Module],
        *,
        vectorised: bool,
        draws: Sequence[SeedPath] | None = None,
    ) -> None:
        super().__init__()
        parameters, buffers = stack_module_state(list(networks))
        # The first becomes the frame: it holds the stacked tensors, so that it moves, saves and
        # switches mode with them, and in each call it is handed those of one network.
        self.frame = networks[0]
        self._places = _places(self.frame)
        leaves = {name: nn.Parameter(one, one.requires_grad) for name, one in parameters.items()}
        self._hold({**leaves, **buffers})
        self.vectorised = vectorised
        self._draws = draws
        trained = None if draws is None else torch.zeros(len(draws), dtype=torch.int64)
        self.register_buffer("batches_trained", trained)

    def draw_apart(self, *path: int | str) -> None:
        """Draw other random numbers than a module alike that trains on other examples."""
        if self._draws is not None:
            self._draws = [(*draws, *path) for draws in self._draws]

    def forward(self, dense: Tensor, embedded: Tensor) -> Tensor:
        parameters = dict(self.frame.named_parameters())
        buffers = dict(self.frame.named_buffers())
        run = vmap(self._one) if self.vectorised else self._in_turn
        logits, changed = run(parameters, buffers, dense, embedded)
        self._hold({name: buffer.detach() for name, buffer in changed.items()})
        return logits if logits.dim() == 3 else logits.unsqueeze(-1)

    def apart(self) -> list[nn.Module]:
        """Return copies of the n networks, each with weights of its own and alone in them."""
        stacked = dict(self.frame.named_parameters()) | dict(self.frame.named_buffers())
        count = len(next(iter(stacked.values())))
        networks = []
        for number in range(count):
            network = copy.deepcopy(self.frame)
            own: dict[str, Tensor] = {}
            for name, tensors in stacked.items():
                weight = tensors[number].detach().clone()
                is_leaf = isinstance(tensors, nn.Parameter)
                own[name] = nn.Parameter(weight, tensors.requires_grad) if is_leaf else weight
            for place, name in self._places.items():
                owner, _, leaf = place.rpartition(".")
                setattr(network.get_submodule(owner), leaf, own[name])
            networks.append(network)
        return networks

    def _one(
        self, parameters: Mapping[str, Tensor], buffers: Weights, dense: Tensor, embedded: Tensor
    ) -> tuple[Tensor, Weights]:
        own = {**parameters, **buffers}
        state = {place: own[name] for place, name in self._places.items()}
        # Tied by the places: PyTorch's own tying leaves a module broken that stands in two places.
        logits = functional_call(self.frame, state, (dense, embedded), tie_weights=False)
        # A buffer changed in place is changed; what was assigned anew was put into the state.
        return logits, {name: state[name] for name in buffers if state[name] is not own[name]}

    def _in_turn(
        self, parameters: Mapping[str, Tensor], buffers: Weights, dense: Tensor, embedded: Tensor
    ) -> tuple[Tensor, Weights]:
        logits, changed = [], []
        # Unbound, not indexed one by one: a gradient is then stacked once, not added up n times.
        parameters_of = {name: one.unbind() for name, one in parameters.items()}
        buffers_of = {name: one.unbind() for name, one in buffers.items()}
        # All at once: for each of them the host would wait until a GPU is through.
        trained = None if self.batches_trained is None else self.batches_trained.tolist()
        for i in range(len(dense)):
            with self._drawing(i, trained, dense.device):
                answer, after = self._one(
                    {name: one[i] for name, one in parameters_of.items()},
                    {name: one[i] for name, one in buffers_of.items()},
                    dense[i],
                    embedded[i],
                )
            logits.append(answer)
            changed.append(after)
        if self.batches_trained is not None and self.training:
            self.batches_trained += 1
        together = {name: torch.stack([one[name] for one in changed]) for name in changed[0]}
        return torch.stack(logits), together

    def _hold(self, tensors: Mapping[str, Tensor]) -> None:
        """Put stacked tensors, by their first names, into their places in the frame."""
        for place, name in self._places.items():
            if name in tensors:
                owner, _, leaf = place.rpartition(".")
                setattr(self.frame.get_submodule(owner), leaf, tensors[name])

    def _drawing(
        self, number: int, trained: Sequence[int] | None, device: torch.device
    ) -> AbstractContextManager[None]:
        if self._draws is None or trained is None:
            return nullcontext()
        return global_draws(*self._draws[number], "forward", trained[number], device=device)


def _places(module: nn.Module) -> dict[str, str]:
    """Return each place that holds a parameter or buffer, with the tensor's first name.

    A tensor tied to several modules has as many places, a module shared by several has one.
    """
    names: dict[int, str] = {}
    places: dict[str, str] = {}
    for prefix, owner in module.named_modules():
        for leaf, tensor in chain(
            owner.named_parameters(recurse=False, remove_duplicate=False),
            owner.named_buffers(recurse=False, remove_duplicate=False),
        ):
            place = f"{prefix}.{leaf}" if prefix else leaf
            places[place] = names.setdefault(id(tensor), place)
    return places
