"""Trains batches in place: compute a step, check that it is finite, apply it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from recsys.arms import Phase
from recsys.data.batch import Batch
from recsys.module import Arm


@dataclass(frozen=True, kw_only=True, slots=True)
class Computed:
    """What a batch would do to the parameters, none of which is done yet."""

    pooled: Tensor
    """``(B, columns)``: what the tables gave"""
    gradient: Tensor
    """Of ``pooled``"""
    served_loss: float
    """Log loss of what would be served, before the update, summed; 0 if nothing is served"""
    is_finite: bool
    """False if a loss or a gradient is NaN or infinite: such a step may not be applied"""


class SharedMemoryTrainer:
    """The local engine's step in two halves, bitwise the same when they follow one another.

    Args:
        arm: of one replica; its tables update themselves as a gradient arrives.
        optimizer: of everything else.
        phase: the pass over the stream.
        batch_count: batches of the whole stream.
    """

    def __init__(
        self, arm: Arm, optimizer: torch.optim.Optimizer, phase: Phase, *, batch_count: int
    ) -> None:
        self.arm = arm
        self._optimizer = optimizer
        self._phase = phase
        self._batch_count = batch_count
        self._weights = list(arm.dense.parameters())

    def compute(self, batch: Batch, number: int) -> Computed:
        """Compute the step of a batch by its number in the stream; nothing is changed."""
        pooled: Tensor = self.arm.embeddings(batch.sparse).values()
        leaf = pooled.detach().requires_grad_()
        logits = self.arm.dense.over_columns(batch.dense, leaf)
        losses = self.arm.config.objective(
            logits,
            batch.labels,
            phase=self._phase.name,
            progress=number / self._batch_count,
        )
        self._optimizer.zero_grad(set_to_none=True)
        losses.sum().backward()
        assert leaf.grad is not None
        gradients = [leaf.grad, *(w.grad for w in self._weights if w.grad is not None)]
        served = 0.0
        if self.arm.config.served.group in logits:
            found = self.arm.config.served_logits(logits).detach()
            served = float(binary_cross_entropy_with_logits(found, batch.labels, reduction="sum"))
        return Computed(
            pooled=pooled,
            gradient=leaf.grad,
            served_loss=served,
            is_finite=_all_finite([losses.detach(), *gradients]),
        )

    def apply(self, computed: Computed) -> None:
        """Change the parameters by what was computed last."""
        computed.pooled.backward(computed.gradient)  # the tables' fused optimiser steps in here
        self._optimizer.step()


def _all_finite(tensors: list[Tensor]) -> bool:
    """Tell whether no value is NaN or infinite: a sum is as soon as one of them is.

    (And if finite values add up to more than float32 can hold. ``torch.isfinite`` of all values
    takes thirty times as long, a tenth of a step.)
    """
    return bool(torch.isfinite(torch.stack([each.sum() for each in tensors])).all())
