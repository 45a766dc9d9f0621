"""What a full training step costs with one activation and with another."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from distrib.training.step import dense_optimizer, set_arithmetic, train_step
from jobs.benchmark._turns import Goal
from recsys.config import Recipe
from recsys.cost import wait_for
from recsys.data.batch import Batch
from recsys.data.click_log import ClickLog
from recsys.data.stream import Stream
from recsys.embeddings import fused_collection
from recsys.module import Arm
from recsys.seeds import Seeds

ACTIVATIONS = ("relu", "smelu(beta=1)", "softplus", "mish", "gelu")
_SMELU = ACTIVATIONS[1]
_TURN_BATCHES = 16

GOALS = (
    Goal(of=_SMELU, to="relu", at_least=1 / 1.03),
    *(Goal(of=_SMELU, to=other, at_least=1.0) for other in ACTIVATIONS[2:]),
)
"""In rates: SmeLU's step takes at most 1.03 of ReLU's, and no more than the others'"""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Training:
    arm: Arm
    optimizer: torch.optim.Optimizer
    device: torch.device

    def step_s(self, batch: Batch) -> float:
        """Train on a batch; return the seconds that it took, until a GPU is through with it."""
        start = time.perf_counter()
        train_step(self.arm, self.optimizer, batch, phase="joint", progress=0.0)
        wait_for(self.device)
        return time.perf_counter() - start


def measure(log: ClickLog, recipe: Recipe) -> list[dict[str, float]]:
    """Let an arm with each activation train on every batch, who is first going round.

    Returns the rates of every 16 batches, but of the first 16, which warm caches.
    """
    device = set_arithmetic(recipe)
    trainings = {name: _training(log, recipe, name, device) for name in ACTIVATIONS}
    stream = Stream(log, "train", recipe.stream, [Seeds()])
    turns = []
    seconds, examples = dict.fromkeys(ACTIVATIONS, 0.0), 0
    for number, on_host in enumerate(stream.batches()):
        batch = on_host.to(device)
        wait_for(device)
        for name in _rotated(ACTIVATIONS, number):
            seconds[name] += trainings[name].step_s(batch)
        examples += batch.examples
        if (number + 1) % _TURN_BATCHES == 0:
            turns.append({name: examples / took for name, took in seconds.items()})
            seconds, examples = dict.fromkeys(ACTIVATIONS, 0.0), 0
    return turns[1:]


def _training(log: ClickLog, recipe: Recipe, activation: str, device: torch.device) -> _Training:
    arm = Arm(
        recipe.arm.model_copy(update={"activation": activation}),
        recipe.model,
        log.schema,
        [Seeds()],
        lambda tables: fused_collection(tables, recipe.optimizer, device),
    ).to(device)
    optimizer = dense_optimizer(arm.dense, recipe.optimizer)
    return _Training(arm=arm, optimizer=optimizer, device=device)


def _rotated(names: Sequence[str], by: int) -> list[str]:
    first = by % len(names)
    return [*names[first:], *names[:first]]
