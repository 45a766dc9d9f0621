"""The local engine: one process, R replicas fused. The reference for all other engines."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torchrec.modules.embedding_configs import EmbeddingBagConfig

from distrib.training.device_transfer import device_batches
from distrib.training.evaluator import EvaluationPoint, Evaluator, results
from distrib.training.step import (
    Progress,
    arm_of_phase,
    dense_optimizer,
    refuse_unfit,
    set_arithmetic,
    train_step,
)
from distrib.trials.trial import Trial, TrialResult
from recsys.cost import LookupCounter, sampling_interval, wait_for
from recsys.data.click_log import ClickLog
from recsys.data.stream import Stream
from recsys.embeddings import fused_collection
from recsys.module import Arm, EmbeddingFactory


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """R trained replicas with metrics of the training."""

    arm: Arm
    lookups: LookupCounter
    """Of all phases; an example counts once."""
    examples_per_second: float
    """Over all replicas; one that is trained on in two phases counts once, evaluation not at all"""
    points: list[EvaluationPoint]


def train(
    log: ClickLog, trials: Sequence[Trial], *, on_progress: Progress = lambda _: None
) -> list[TrialResult]:
    """Train replicas of one recipe side by side, evaluate the served parts, and measure costs.

    Raises:
        ConfigError: the trials differ in more than their seeds, the device is missing, or a split
            is empty.
    """
    recipe = trials[0].recipe
    refuse_unfit(log, trials)
    device = set_arithmetic(recipe)

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
    """Train; every phase of the arm is one pass over the stream."""
    recipe, seeds = trials[0].recipe, [trial.seeds for trial in trials]
    stream = Stream(log, "train", recipe.stream, seeds)
    watch = Evaluator(log, recipe, len(seeds), device, stream.batch_count)
    counter = LookupCounter(unique_every=sampling_interval(stream.batch_count))
    arm: Arm | None = None
    seconds = 0.0
    for phase in recipe.arm.phases:
        arm = arm_of_phase(recipe, log, trials, phase.groups, make_embeddings, arm).to(device)
        optimizer = dense_optimizer(arm.dense, recipe.optimizer)
        is_last = phase == recipe.arm.phases[-1]
        started = time.perf_counter()
        with device_batches(stream.batches(), device) as batches:
            for number, fed in enumerate(batches):
                batch = fed.batch
                counter.count(arm.tables, fed.on_host, again=not is_last)
                progress = number / stream.batch_count
                logits, _ = train_step(arm, optimizer, batch, phase=phase.name, progress=progress)
                if is_last:
                    watch.observe(recipe.arm.served_logits(logits), batch.labels)
                on_progress(batch.examples * batch.replicas)
                if is_last and watch.is_due(number, number + 1):
                    wait_for(device)
                    seconds += time.perf_counter() - started
                    watch.evaluate(arm)
                    started = time.perf_counter()
        wait_for(device)
        seconds += time.perf_counter() - started
    assert arm is not None
    return Trained(
        arm=arm,
        lookups=counter,
        examples_per_second=stream.examples * len(seeds) / seconds,
        points=watch.points,
    )
