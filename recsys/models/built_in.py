"""The built-in models MLP, DeepFM, DLRM and DCNv2, and the stacking of n copies of any network."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from recsys.models.blueprint import SeedPath, Shape
from recsys.models.config import DCNv2Config, DeepFMConfig, DLRMConfig, MLPConfig
from recsys.seeds import global_draws
from recsys.towers import StackedLinear, StackedMLP, stacked_uniform

Weights = dict[str, Tensor]


class Stacked(nn.Module):
    """n networks run together: ``(n, B, D)`` and ``(n, B, C)`` to ``(n, B, heads)``.

    One network maps ``(B, D)`` and ``(B, C)`` to logits ``(B,)`` or ``(B, heads)``. Weights and
    buffers are stacked with n as first dimension.

    Args:
        networks: n networks that differ only in the values of weights and buffers; taken over.
        vectorised: run all as one through ``torch.func.vmap``; otherwise one after another.
        draws: if given, network i draws random numbers (dropout) from path ``draws[i]`` and the
            number of its training batches, independent of the others. Not with ``vectorised``.
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
        """Draw other random numbers than an equal module that trains on other examples."""
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
        """Return copies of the n networks with separate weights."""
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
        """Put stacked tensors into the frame, by their first names."""
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
    """Return each place of a parameter or buffer, with the tensor's first name.

    A tied tensor has several places, a shared module has one.
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


class MLP(nn.Module):
    """n towers over the concatenation of all features.

    ``dense`` is ``(n, B, D)``, ``embedded`` ``(n, B, T x E)``; returns logits ``(n, B, heads)``.
    """

    def __init__(
        self, config: MLPConfig, shape: Shape, generators: Sequence[torch.Generator]
    ) -> None:
        super().__init__()
        fan_in = shape.sparse_features * shape.embedding_dim + shape.dense_features
        self.tower = StackedMLP(
            (fan_in, *config.hidden, shape.heads),
            generators,
            activation=shape.activation,
            layer_norm=config.layer_norm,
        )

    def forward(self, dense: Tensor, embedded: Tensor) -> Tensor:
        return self.tower(torch.cat((embedded, dense), -1))


class DeepFM(nn.Module):
    """First-order weights, dot products of all pairs of fields, and a tower over all vectors.

    The paper has first-order weights in a table of width 1. Here the last column of a row is its
    first-order weight, so one lookup serves all three parts; a second table would double the
    lookups and have width 4 in FBGEMM. A multi-valued feature is one field with pooled rows. Dense
    feature j has learned rows, scaled by its value. Two heads share the first and second order, and
    have separate outputs of the tower.

    ``dense`` is ``(n, B, D)``, ``embedded`` ``(n, B, T x E)``; returns logits ``(n, B, heads)``.
    """

    def __init__(
        self, config: DeepFMConfig, shape: Shape, generators: Sequence[torch.Generator]
    ) -> None:
        super().__init__()
        self._embedding_dim = shape.embedding_dim
        self.dense_rows = None
        if shape.dense_features:
            self.dense_rows = stacked_uniform(
                generators,
                (shape.dense_features, shape.embedding_dim),
                # As a table with a row for each dense feature would start.
                shape.dense_features**-0.5,
            )
        fields = shape.sparse_features + shape.dense_features
        self.tower = StackedMLP(
            (fields * (shape.embedding_dim - 1), *config.hidden, shape.heads),
            generators,
            activation=shape.activation,
            layer_norm=config.layer_norm,
        )

    def forward(self, dense: Tensor, embedded: Tensor) -> Tensor:
        fields = embedded.unflatten(2, (-1, self._embedding_dim))
        if self.dense_rows is not None:
            fields = torch.cat((fields, dense.unsqueeze(3) * self.dense_rows.unsqueeze(1)), 2)
        vectors, weights = fields[..., :-1], fields[..., -1]
        # The sum over pairs is half of the square of the sum less the sum of squares (Rendle 2010).
        pairs = 0.5 * (vectors.sum(2).square() - vectors.square().sum(2)).sum(-1)
        machine = weights.sum(-1) + pairs
        return self.tower(vectors.flatten(2)) + machine.unsqueeze(-1)


class DLRM(nn.Module):
    """A bottom tower embeds dense features; a top tower reads dot products of all pairs of vectors.

    ``dense`` is ``(n, B, D)``, ``embedded`` ``(n, B, T x E)``; returns logits ``(n, B, heads)``.
    Without dense features there is no bottom tower.
    """

    def __init__(
        self, config: DLRMConfig, shape: Shape, generators: Sequence[torch.Generator]
    ) -> None:
        super().__init__()
        self._embedding_dim = shape.embedding_dim
        self.bottom: StackedMLP | None = None
        vectors = shape.sparse_features
        passed_on = shape.sparse_features * shape.embedding_dim
        if shape.dense_features:
            self.bottom = StackedMLP(
                (shape.dense_features, *config.bottom, shape.embedding_dim),
                generators,
                activation=shape.activation,
                layer_norm=config.layer_norm,
                activate_last=True,
            )
            vectors += 1
            passed_on = shape.embedding_dim
        pairs = torch.tril_indices(vectors, vectors, offset=-1)
        self.register_buffer("pairs", pairs[0] * vectors + pairs[1], persistent=False)
        self.top = StackedMLP(
            (passed_on + pairs.shape[1], *config.hidden, shape.heads),
            generators,
            activation=shape.activation,
            layer_norm=config.layer_norm,
        )

    def forward(self, dense: Tensor, embedded: Tensor) -> Tensor:
        vectors = embedded.unflatten(2, (-1, self._embedding_dim))
        passed_on = embedded
        if self.bottom is not None:
            passed_on = self.bottom(dense)
            vectors = torch.cat((passed_on.unsqueeze(2), vectors), 2)
        products = vectors @ vectors.transpose(2, 3)
        interactions = products.flatten(2).index_select(2, self.pairs)
        return self.top(torch.cat((passed_on, interactions), -1))


class StackedCross(nn.Module):
    """n low-rank cross layers: ``x0 * (U V^T x + b) + x``.

    ``x0``, ``x`` and the result are ``(n, B, features)``; U and V are ``(features, rank)`` each.
    Wang et al. 2020, equation 2.
    """

    def __init__(self, features: int, rank: int, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        self.v = StackedLinear(features, rank, generators, bias=False)
        self.u = StackedLinear(rank, features, generators)

    def forward(self, x0: Tensor, x: Tensor) -> Tensor:
        return torch.addcmul(x, x0, self.u(self.v(x)))


class DCNv2(nn.Module):
    """Cross layers before a tower (stacked) or in parallel with one.

    Stacked, the tower reads the last cross and returns the logits. Parallel, it reads the features,
    and a linear layer reads its last hidden layer and the last cross (figure 1 of the paper).

    ``dense`` is ``(n, B, D)``, ``embedded`` ``(n, B, T x E)``; returns logits ``(n, B, heads)``.
    """

    def __init__(
        self, config: DCNv2Config, shape: Shape, generators: Sequence[torch.Generator]
    ) -> None:
        super().__init__()
        features = shape.sparse_features * shape.embedding_dim + shape.dense_features
        self.crosses = nn.ModuleList(
            StackedCross(features, config.rank, generators) for _ in range(config.cross_layers)
        )
        stacked = config.structure == "stacked"
        widths = (features, *config.hidden)
        self.tower = StackedMLP(
            (*widths, shape.heads) if stacked else widths,
            generators,
            activation=shape.activation,
            layer_norm=config.layer_norm,
            activate_last=not stacked,
        )
        self.head = None
        if not stacked:
            self.head = StackedLinear(features + widths[-1], shape.heads, generators)

    def forward(self, dense: Tensor, embedded: Tensor) -> Tensor:
        features = crossed = torch.cat((embedded, dense), -1)
        for cross in self.crosses:
            crossed = cross(features, crossed)
        if self.head is None:
            return self.tower(crossed)
        return self.head(torch.cat((crossed, self.tower(features)), -1))
