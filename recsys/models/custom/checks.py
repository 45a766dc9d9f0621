"""Checks of a custom module before training, and how n copies of it run together."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torchrec.modules.embedding_configs import DataType, EmbeddingBagConfig
from torchrec.modules.embedding_modules import EmbeddingBagCollection

from recsys.calls import listed, nearest
from recsys.data.schema import Schema
from recsys.errors import ConfigError
from recsys.models.built_in import Stacked
from recsys.seeds import global_draws


@dataclass(frozen=True, kw_only=True, slots=True)
class Component:
    """A module with ``.embeddings`` and ``.dense``, as its two parts."""

    embeddings: EmbeddingBagCollection
    dense: nn.Module

    @property
    def tables(self) -> tuple[EmbeddingBagConfig, ...]:
        return tuple(self.embeddings.embedding_bag_configs())


def checked(name: str, made: object, schema: Schema) -> Component:
    """Return the factory's module if it is a component over this schema.

    Raises:
        ConfigError: it is not; names found and expected.
    """
    form = "a torch.nn.Module with .embeddings and .dense"
    if not isinstance(made, nn.Module):
        raise ConfigError(f"model {name}: returned {_kind(made)}, expected {form}")
    embeddings, dense = getattr(made, "embeddings", None), getattr(made, "dense", None)
    if not isinstance(embeddings, EmbeddingBagCollection):
        raise ConfigError(
            f"model {name}: .embeddings is {_kind(embeddings)}, "
            "expected a torchrec EmbeddingBagCollection"
        )
    if embeddings.is_weighted():
        raise ConfigError(f"model {name}: .embeddings is weighted, but examples have no weights")
    if not isinstance(dense, nn.Module):
        raise ConfigError(f"model {name}: .dense is {_kind(dense)}, expected a torch.nn.Module")
    component = Component(embeddings=embeddings, dense=dense)
    for table in component.tables:
        _check_table(f"model {name}: table {table.name!r}", table, schema)
    _check_parameters(f"model {name}: .dense", dense)
    return component


def check_logits(name: str, logits: object, *, examples: int, heads: int) -> None:
    """Raise unless logits are ``(examples,)`` for one head, or ``(examples, heads)``.

    Raises:
        ConfigError: names the shape found.
    """
    shapes = [(examples, heads)] if heads > 1 else [(examples,), (examples, 1)]
    expected = " or ".join(map(str, shapes))
    if not isinstance(logits, Tensor):
        raise ConfigError(
            f"model {name}: .dense returned {_kind(logits)}, "
            f"expected logits {expected} for {examples} examples"
        )
    if tuple(logits.shape) not in shapes or not logits.is_floating_point():
        raise ConfigError(
            f"model {name}: .dense returned {logits.dtype} of shape {tuple(logits.shape)} "
            f"for {examples} examples, expected float logits {expected}"
        )


def _check_table(where: str, table: EmbeddingBagConfig, schema: Schema) -> None:
    features = {feature.name: feature for feature in schema.sparse}
    for name in table.feature_names:
        if name not in features:
            hint = nearest(name, list(features)) or f"; there are {listed(list(features))}"
            raise ConfigError(f"{where}: the data has no sparse feature {name!r}{hint}")
        if table.num_embeddings < features[name].cardinality:
            raise ConfigError(
                f"{where}: {table.num_embeddings} rows for feature {name!r}, "
                f"expected at least its cardinality {features[name].cardinality}"
            )
    if table.embedding_dim % 4:
        raise ConfigError(
            f"{where}: embedding_dim {table.embedding_dim}, expected a multiple of 4 (for FBGEMM)"
        )
    if table.data_type is not DataType.FP32:
        raise ConfigError(f"{where}: data type {table.data_type.value}, expected FP32")


def _check_parameters(where: str, dense: nn.Module) -> None:
    parameters = dict(dense.named_parameters())
    if not parameters:
        raise ConfigError(f"{where} has no parameters to train")
    for name, one in parameters.items():
        if is_lazy(one):
            raise ConfigError(f"{where}: {name} has no shape yet, expected no lazy modules")
        if one.device.type != "cpu":
            raise ConfigError(
                f"{where}: {name} is on {one.device}, expected cpu: it is moved after its creation"
            )


def _kind(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stacking:
    """How networks run together."""

    vectorised: bool
    draws: bool
    """Whether training them takes random numbers."""


def find_stacking(
    name: str, networks: Sequence[nn.Module], dense: Tensor, embedded: Tensor
) -> Stacking:
    """Try networks, which are consumed, on a batch ``(B, D)``, ``(B, C)``; log if not vectorised.

    The result depends on the network only, not on their number, so a replica is computed in the
    same way alone and stacked.
    """
    batch = tuple(one.expand(len(networks), *one.shape) for one in (dense, embedded))
    draws = _draws_numbers(networks[0], dense, embedded)
    reason = (
        "it draws random numbers, separately for each tower"
        if draws
        else _why_not_vectorised(Stacked(networks, vectorised=False), *batch)
    )
    if reason:
        _warn_once(f"model {name}: its towers run one after another: {reason}")
    return Stacking(vectorised=not reason, draws=draws)


def _draws_numbers(network: nn.Module, dense: Tensor, embedded: Tensor) -> bool:
    with global_draws("trial"), torch.no_grad():
        before = torch.get_rng_state()
        for training in (False, True):
            network.train(training)(dense, embedded)
        return not torch.equal(before, torch.get_rng_state())


def _why_not_vectorised(stacked: Stacked, dense: Tensor, embedded: Tensor) -> str:
    """Return why vectorised execution fails or differs; empty if it does not."""
    stacked.eval()
    one_by_one = stacked(dense, embedded)
    stacked.vectorised = True
    try:
        together = stacked(dense, embedded)
        stacked.train()(dense, embedded).sum().backward()
    except Exception as error:
        # Whatever it is that torch.func or the model's own code objects to, there is another way.
        return f"torch.func.vmap fails ({_first_sentence(error)})"
    if not torch.allclose(together, one_by_one, rtol=1e-3, atol=1e-4, equal_nan=True):
        return "torch.func.vmap gives different logits"
    return ""


def _first_sentence(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text.split('. ')[0]}"[:200]


@cache
def _warn_once(line: str) -> None:
    _log.warning(line)
