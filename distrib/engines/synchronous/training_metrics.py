"""Metrics of a synchronous training: losses, lookups and time, reduced over ranks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor
from torchrec.modules.embedding_configs import EmbeddingBagConfig

from distrib.engines.synchronous.input import Part
from distrib.engines.synchronous.step import StepOutput
from distrib.training.evaluator import Evaluator, EvaluatorState
from recsys.cost import LookupCounter, Lookups
from recsys.data.batch import Batch


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricsState:
    """An account, to go back to."""

    phase: int
    batches: int
    """Of the phase, that were trained"""
    examples: int
    """Of one replica, in all phases"""
    watch: EvaluatorState
    rows: int
    bytes: int
    """Read from tables by all ranks, in all phases"""
    unique_batches: int
    unique_rows: int
    """Distinct rows in a sample of whole batches"""
    seconds: float
    """Spent in all phases, but on evaluation and checkpoints"""

    def lookups(self, examples: int) -> Lookups:
        """Return the averages over a training on ``examples`` examples of all replicas."""
        return Lookups(
            per_example=self.rows / examples,
            bytes_per_example=self.bytes / examples,
            unique_rows_per_batch=self.unique_rows / self.unique_batches,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ReducedMetrics:
    """What all ranks saw since they last settled. Losses are float64 ``(R,)``."""

    batches: int
    examples: int
    """Of one replica"""
    served_losses: Tensor
    """Log losses of what would have been served, before training, summed over examples"""
    losses: Tensor
    """Training losses, summed over batches"""
    seconds: float


class TrainingMetrics:
    """This rank's own since ranks last settled, and the sum of all that was settled."""

    def __init__(self, replicas: int, watch: Evaluator, device: torch.device) -> None:
        self.watch = watch
        self._replicas = replicas
        self._device = device
        self._rows = self._bytes = self._unique_batches = self._unique_rows = 0
        self._seconds = 0.0
        self._begin()

    def add(self, tables: list[EmbeddingBagConfig], part: Part, answer: StepOutput) -> None:
        """Take what a part of a batch read and got."""
        self._losses[0] += answer.served_losses
        self._losses[1] += answer.losses
        self._counter.count(tables, part.batch)
        self._batches += 1
        self._examples += part.batch_examples

    def lap(self, began: float) -> float:
        """Take the time since ``began`` for training, and return the time now."""
        now = time.perf_counter()
        self._seconds_since += now - began
        return now

    def count_unique(self, tables: Sequence[EmbeddingBagConfig], whole: Batch) -> None:
        """Count the distinct rows of a whole batch."""
        counter = LookupCounter()
        counter.count(tables, whole)
        _, batches, _, _, _, rows = counter.totals()
        self._unique_batches += batches
        self._unique_rows += rows

    def settle(self, *, is_last_phase: bool) -> ReducedMetrics:
        """Add up what all ranks saw; all ranks have to ask for it."""
        _, _, _, rows, size, _ = self._counter.totals()
        everything = torch.cat([self._losses.flatten(), self._losses.new_tensor([rows, size])])
        dist.all_reduce(everything)
        losses = everything[:-2].view(2, self._replicas)
        settled = ReducedMetrics(
            batches=self._batches,
            examples=self._examples,
            served_losses=losses[0],
            losses=losses[1],
            seconds=self._seconds_since,
        )
        self._rows += int(everything[-2])
        self._bytes += int(everything[-1])
        self._seconds += self._seconds_since
        if is_last_phase:
            self.watch.add(settled.served_losses, settled.examples)
        self._begin()
        return settled

    def progress(self, phase: int, batches: int, examples: int) -> MetricsState:
        """Return all that was settled."""
        return MetricsState(
            phase=phase,
            batches=batches,
            examples=examples,
            watch=self.watch.state(),
            rows=self._rows,
            bytes=self._bytes,
            unique_batches=self._unique_batches,
            unique_rows=self._unique_rows,
            seconds=self._seconds,
        )

    def go_back(self, progress: MetricsState) -> None:
        """Forget all that came after."""
        self.watch.go_back(progress.watch)
        self._rows, self._bytes = progress.rows, progress.bytes
        self._unique_batches = progress.unique_batches
        self._unique_rows = progress.unique_rows
        self._seconds = progress.seconds
        self._begin()

    def _begin(self) -> None:
        self._losses = torch.zeros(2, self._replicas, dtype=torch.float64, device=self._device)
        self._counter = LookupCounter(unique_every=None)
        self._batches = self._examples = 0
        self._seconds_since = 0.0
