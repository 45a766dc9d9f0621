"""The local engine: one process, R replicas fused. The reference for all other engines."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torchrec.modules.embedding_configs import EmbeddingBagConfig

from distrib.evaluation import Point, Watch, results
from distrib.trial import Trial, TrialResult
from recsys.config import OptimizerConfig, Recipe
from recsys.cost import LookupCounter
from recsys.data.click_log import ClickLog
from recsys.data.stream import Stream
from recsys.embeddings import fused_collection
from recsys.errors import ConfigError
from recsys.module import Arm, EmbeddingFactory, copy_group

_UNIQUE_ROW_SAMPLES = 16

Progress = Callable[[int], None]
"""Called with the number of examples trained, over all replicas, since the last call."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """R trained replicas and what was seen on the way."""

    arm: Arm
    lookups: LookupCounter
    """Of all phases; an example counts once."""
    examples_per_second: float
    """Over all replicas, evaluation not counted"""
    points: list[Point]


def train(
    log: ClickLog, trials: Sequence[Trial], *, on_progress: Progress = lambda _: None
) -> list[TrialResult]:
    """Train replicas of one recipe side by side, evaluate what each serves, and count the cost.

    Raises:
        ConfigError: the trials differ in more than their seeds, the device is not there, or a
            split has no examples.
    """
    recipe = trials[0].recipe
    if any(trial.recipe != recipe for trial in trials):
        raise ConfigError("trials trained together may differ in their seeds alone")
    for split in ("train", recipe.evaluation.split):
        if not len(log.splits[split]):
            raise ConfigError(f"{log.directory}: split {split} has no examples; expected some")
    device = resolve_device(recipe)
    torch.set_num_threads(recipe.engine.threads)
    torch.set_float32_matmul_precision(recipe.engine.matmul_precision)

    def make_embeddings(tables: list[EmbeddingBagConfig]) -> nn.Module:
        return fused_collection(tables, recipe.optimizer, device)

    trained = fit(log, trials, device, make_embeddings, on_progress)
    return results(
        log,
        trials,
        trained.arm,
        make_embeddings,
        train_lookups=trained.lookups.lookups(),
        train_examples_per_second=trained.examples_per_second,
        points=trained.points,
    )


def fit(
    log: ClickLog,
    trials: Sequence[Trial],
    device: torch.device,
    make_embeddings: EmbeddingFactory,
    on_progress: Progress,
) -> Trained:
    """Train: every phase of the arm is one pass over the stream."""
    recipe, seeds = trials[0].recipe, [trial.seeds for trial in trials]
    stream = Stream(log, "train", recipe.stream, seeds)
    watch = Watch(log, recipe, len(seeds), device, stream.batch_count)
    counter = LookupCounter(unique_every=max(stream.batch_count // _UNIQUE_ROW_SAMPLES, 1))
    arm: Arm | None = None
    seconds = 0.0
    for phase in recipe.arm.phases:
        arm = _arm_of_phase(recipe, log, trials, phase.groups, make_embeddings, arm).to(device)
        optimizer = dense_optimizer(arm.dense, recipe.optimizer)
        is_last = phase == recipe.arm.phases[-1]
        started = time.perf_counter()
        for number, on_host in enumerate(stream.batches()):
            batch = on_host.to(device)
            counter.count(arm.tables, batch, again=not is_last)
            logits = arm(batch)
            loss = recipe.arm.objective(
                logits, batch.labels, phase=phase.name, progress=number / stream.batch_count
            )
            optimizer.zero_grad(set_to_none=True)
            loss.sum().backward()  # the tables' fused optimiser steps in here
            optimizer.step()
            on_progress(batch.examples * batch.replicas)
            if is_last:
                watch.observe(recipe.arm.served_logits(logits), batch.labels)
                if watch.is_due(number + 1):
                    seconds += time.perf_counter() - started
                    watch.evaluate(arm)
                    started = time.perf_counter()
        seconds += time.perf_counter() - started
    assert arm is not None
    trained = stream.examples * len(recipe.arm.phases) * len(seeds)
    return Trained(
        arm=arm, lookups=counter, examples_per_second=trained / seconds, points=watch.points
    )


def dense_optimizer(dense: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Return the optimiser of everything but the tables.

    All are element-wise: towers stacked in one tensor are updated as each would be alone.
    """
    parameters, rate = dense.parameters(), config.dense_learning_rate
    if config.dense == "sgd":
        return torch.optim.SGD(parameters, rate)
    if config.dense == "adam":
        return torch.optim.Adam(parameters, rate, eps=config.eps)
    return torch.optim.Adagrad(parameters, rate, eps=config.eps)


def resolve_device(recipe: Recipe) -> torch.device:
    """Return the device that a recipe asks for.

    Raises:
        ConfigError: it asks for a GPU and there is none.
    """
    there = torch.cuda.is_available()
    if recipe.engine.device == "cuda" and not there:
        raise ConfigError("engine.device: found cuda, but no GPU is there; expected cpu or auto")
    return torch.device("cuda" if there and recipe.engine.device != "cpu" else "cpu")


def _arm_of_phase(
    recipe: Recipe,
    log: ClickLog,
    trials: Sequence[Trial],
    names: Sequence[str],
    make_embeddings: EmbeddingFactory,
    before: Arm | None,
) -> Arm:
    """Return the phase's groups; those of the phase before go on from their weights."""
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
