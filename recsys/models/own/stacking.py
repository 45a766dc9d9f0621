"""Decide how n networks that a user wrote run together: tried out, not guessed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from recsys.models.stacked import Stacked
from recsys.seeds import global_draws

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
    """Try networks, which are used up, on a batch ``(B, D)``, ``(B, C)`` each; log if not as one.

    The outcome depends on what the networks are, never on how many will run together, so that a
    replica is computed alike alone and in company.
    """
    batch = tuple(one.expand(len(networks), *one.shape) for one in (dense, embedded))
    draws = _draws_numbers(networks[0], dense, embedded)
    reason = (
        "it draws random numbers, each tower its own"
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
    """Return what goes wrong, nothing where vectorised is as good as one after another."""
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
        return "torch.func.vmap gives other logits"
    return ""


def _first_sentence(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text.split('. ')[0]}"[:200]


@cache
def _warn_once(line: str) -> None:
    _log.warning(line)
