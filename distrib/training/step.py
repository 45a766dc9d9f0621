"""The training step, the dense optimizer and the arm of a phase, which all engines share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from distrib.trials.trial import Trial
from recsys.arms import Logits, Phase
from recsys.config import OptimizerConfig, Recipe
from recsys.data.batch import Batch
from recsys.data.click_log import ClickLog
from recsys.data.schema import Schema
from recsys.embeddings import WithoutRows
from recsys.errors import ConfigError
from recsys.module import Arm, EmbeddingFactory, copy_group
from recsys.seeds import Seeds

Progress = Callable[[int], None]
"""Called with the number of examples trained, over all replicas, since the last call."""


def train_step(
    arm: Arm, optimizer: torch.optim.Optimizer, batch: Batch, *, phase: str, progress: float
) -> tuple[Logits, torch.Tensor]:
    """Train on one batch; return logits before the update, and the losses ``(R,)``.

    ``progress`` is the share of the stream before the batch.
    """
    logits = arm(batch)
    losses = arm.config.objective(logits, batch.labels, phase=phase, progress=progress)
    optimizer.zero_grad(set_to_none=True)
    losses.sum().backward()  # the tables' fused optimiser steps in here
    optimizer.step()
    return logits, losses.detach()


def dense_optimizer(dense: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Return the optimizer of everything except the tables.

    It is elementwise, so stacked towers are updated as each would be alone.
    """
    parameters, rate = dense.parameters(), config.dense_learning_rate
    if config.dense == "sgd":
        return torch.optim.SGD(parameters, rate)
    if config.dense == "adam":
        return torch.optim.Adam(parameters, rate, eps=config.eps)
    return torch.optim.Adagrad(parameters, rate, eps=config.eps)


def refuse_unfit(log: ClickLog, trials: Sequence[Trial]) -> None:
    """Raise, before anything starts, if trials cannot be trained side by side.

    Raises:
        ConfigError: they differ in more than their seeds, or a split is empty.
    """
    recipe = trials[0].recipe
    if any(trial.recipe != recipe for trial in trials):
        raise ConfigError("trials trained together may differ in their seeds alone")
    for split in ("train", recipe.evaluation.split):
        if not len(log.splits[split]):
            raise ConfigError(f"{log.directory}: split {split} has no examples; expected some")


def set_arithmetic(recipe: Recipe) -> torch.device:
    """Set this process's threads and matmul precision; return the training device.

    Raises:
        ConfigError: the recipe needs a GPU and there is none.
    """
    set_threads(recipe)
    there = torch.cuda.is_available()
    if recipe.engine.device == "cuda" and not there:
        raise ConfigError("engine.device: found cuda, but no GPU is there; expected cpu or auto")
    if not there or recipe.engine.device == "cpu":
        return torch.device("cpu")
    # With its number, as tensors name it: what lies there already is then known to.
    return torch.device("cuda", torch.cuda.current_device())


def set_threads(recipe: Recipe) -> None:
    """Set this process's threads and matmul precision."""
    torch.set_num_threads(recipe.engine.threads)
    torch.set_float32_matmul_precision(recipe.engine.matmul_precision)


def shape_of_phase(
    recipe: Recipe, schema: Schema, seeds: Sequence[Seeds], names: Sequence[str]
) -> Arm:
    """Return the phase's groups with their towers, with tables on the meta device."""
    layout = recipe.arm.layout(recipe.model.embedding_dim)
    groups = [group for group in layout if group.name in names]
    return Arm(recipe.arm, recipe.model, schema, seeds, WithoutRows, groups=groups)


def arm_of_phase(
    recipe: Recipe,
    log: ClickLog,
    trials: Sequence[Trial],
    names: Sequence[str],
    make_embeddings: EmbeddingFactory,
    before: Arm | None,
) -> Arm:
    """Return the phase's groups; those of the previous phase keep their weights."""
    layout = recipe.arm.layout(recipe.model.embedding_dim)
    arm = Arm(
        recipe.arm,
        recipe.model,
        log.schema,
        [trial.seeds for trial in trials],
        make_embeddings,
        groups=[group for group in layout if group.name in names],
    )
    if before is not None:
        for group in before.groups:
            towers, replicas = range(group.towers), range(len(trials))
            copy_group(before, arm, group.name, towers=towers, replicas=replicas)
    return arm


@dataclass(frozen=True, kw_only=True, slots=True)
class Computed:
    """The computed update of a batch, not yet applied."""

    pooled: Tensor
    """``(B, columns)``: what the tables gave"""
    gradient: Tensor
    """Of ``pooled``"""
    served_loss: float
    """Log loss of what would be served, before the update, summed; 0 if nothing is served"""
    is_finite: bool
    """False if a loss or a gradient is NaN or infinite: such a step may not be applied"""


class SharedMemoryTrainer:
    """The local engine's step in two parts, bitwise identical when run in sequence.

    Args:
        arm: of one replica; its tables are updated by the backward pass.
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
        """Compute the update of a batch by its number in the stream, without applying it."""
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
        """Apply the last computed update."""
        computed.pooled.backward(computed.gradient)  # the tables' fused optimiser steps in here
        self._optimizer.step()


def _all_finite(tensors: list[Tensor]) -> bool:
    """Return whether all values are finite, by their sum.

    A sum that overflows float32 counts as infinite. ``torch.isfinite`` of all values takes thirty
    times as long, a tenth of a step.
    """
    return bool(torch.isfinite(torch.stack([each.sum() for each in tensors])).all())
