"""Metrics of a synchronous training, reduced over ranks, and their logging to trackers."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor
from torchrec.modules.embedding_configs import EmbeddingBagConfig

from distrib.engines.synchronous.step import Part, StepOutput
from distrib.training.evaluator import EvaluationPoint, Evaluator, EvaluatorState, sigmoid
from recsys import metrics
from recsys.config import Recipe
from recsys.cost import LookupCounter, Lookups
from recsys.credentials import redacted
from recsys.data.batch import Batch
from recsys.data.click_log import ClickLog
from recsys.engines import SyncEngine

_EVENTS = "tensorboard"
MLFLOW_RUN = "mlflow_run_id"
"""The file of the run that a training which goes on goes on in"""


class Tracker(Protocol):
    """Logs named scalars by number of examples."""

    def tell(self, examples: int, scalars: Mapping[str, float]) -> None:
        """Log scalars after ``examples`` examples of a replica."""
        ...

    def close(self) -> None:
        """Flush and close."""
        ...


def tracker(recipe: Recipe, run: Path, *, start: int) -> Tracker:
    """Return the recipe's tracker for a run that resumes at ``start`` examples.

    Only for the first rank.
    """
    assert isinstance(recipe.engine, SyncEngine)
    if recipe.engine.tracking == "mlflow":
        return _MLflow(recipe, run)
    if recipe.engine.tracking == "tensorboard":
        return _TensorBoard(run, start)
    return NullTracker()


def files_of(run: Path) -> list[Path]:
    """Return the trackers' files in a run's folder, without databases."""
    return [*(run / _EVENTS).glob("*"), *run.glob(MLFLOW_RUN)]


def training_scalars(reduced: ReducedMetrics, phase: str, *, served: bool) -> dict[str, float]:
    """Return training scalars: losses of each replica, and examples per second."""
    replicas = len(reduced.losses)
    scalars = {f"speed/{phase}/examples_per_second": reduced.examples * replicas / reduced.seconds}
    scalars |= _by_replica(f"loss/{phase}/objective", reduced.losses / reduced.batches)
    if served:
        losses = reduced.served_losses / reduced.examples
        scalars |= _by_replica("loss/progressive_log_loss", losses)
    return scalars


def evaluation_scalars(log: ClickLog, point: EvaluationPoint) -> dict[str, float]:
    """Return the scalars of an evaluation during training, for each replica."""
    labels = log.label[point.rows]
    predictions = sigmoid(point.logits)
    log_loss = [metrics.log_loss(labels, each) for each in predictions]
    auc = [metrics.roc_auc(labels, each) for each in predictions]
    return _by_replica("evaluation/log_loss", log_loss) | _by_replica("evaluation/auc", auc)


def _by_replica(name: str, values: Iterable[float]) -> dict[str, float]:
    found = [float(value) for value in values]
    if len(found) == 1:
        return {name: found[0]}
    return {f"{name}/replica_{replica}": value for replica, value in enumerate(found)}


class NullTracker:
    """Discards scalars."""

    def tell(self, examples: int, scalars: Mapping[str, float]) -> None:
        pass

    def close(self) -> None:
        pass


class _TensorBoard:
    """Event files in ``RUN/tensorboard``; events of a failed attempt after ``start`` are purged.

    Scalars logged less than a second before a process is killed are lost.
    """

    def __init__(self, run: Path, start: int) -> None:
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(
            str(run / _EVENTS), purge_step=start + 1 if start else None, flush_secs=1
        )

    def tell(self, examples: int, scalars: Mapping[str, float]) -> None:
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, examples)

    def close(self) -> None:
        self._writer.close()


class _MLflow:
    """An MLflow run, at ``MLFLOW_TRACKING_URI`` or in ``RUN/mlflow.db``.

    A resumed training continues the same run, whose id is kept in the run's folder.
    """

    def __init__(self, recipe: Recipe, run: Path) -> None:
        import mlflow

        if "MLFLOW_TRACKING_URI" not in os.environ:
            mlflow.set_tracking_uri(f"sqlite:///{run.absolute()}/mlflow.db")
        self._mlflow = mlflow
        known = run / MLFLOW_RUN
        if known.exists():
            mlflow.start_run(run_id=known.read_text().strip())
            return
        started = mlflow.start_run(run_name=run.name)
        known.write_text(started.info.run_id)
        mlflow.log_params(_flat(redacted(recipe.model_dump(mode="json"))))

    def tell(self, examples: int, scalars: Mapping[str, float]) -> None:
        self._mlflow.log_metrics(dict(scalars), step=examples)

    def close(self) -> None:
        self._mlflow.end_run()


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested fields by their dotted paths."""
    found: dict[str, Any] = {}
    for name, each in value.items():
        if isinstance(each, Mapping):
            found |= _flat(each, f"{prefix}{name}.")
        else:
            found[prefix + name] = each
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricsState:
    """The state of TrainingMetrics, in a checkpoint."""

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
        """Return averages over ``examples`` examples of all replicas."""
        return Lookups(
            per_example=self.rows / examples,
            bytes_per_example=self.bytes / examples,
            unique_rows_per_batch=self.unique_rows / self.unique_batches,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ReducedMetrics:
    """Metrics of all ranks since the last reduction. Losses are float64 ``(R,)``."""

    batches: int
    examples: int
    """Of one replica"""
    served_losses: Tensor
    """Log losses of what would have been served, before training, summed over examples"""
    losses: Tensor
    """Training losses, summed over batches"""
    seconds: float


class TrainingMetrics:
    """This rank's metrics since the last reduction, and the reduced totals."""

    def __init__(self, replicas: int, watch: Evaluator, device: torch.device) -> None:
        self.watch = watch
        self._replicas = replicas
        self._device = device
        self._rows = self._bytes = self._unique_batches = self._unique_rows = 0
        self._seconds = 0.0
        self._begin()

    def add(self, tables: list[EmbeddingBagConfig], part: Part, answer: StepOutput) -> None:
        """Add the lookups and outputs of a part of a batch."""
        self._losses[0] += answer.served_losses
        self._losses[1] += answer.losses
        self._counter.count(tables, part.batch)
        self._batches += 1
        self._examples += part.batch_examples

    def lap(self, began: float) -> float:
        """Add the time since ``began`` to the training time; return the current time."""
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

    def reduce_over_ranks(self, *, is_last_phase: bool) -> ReducedMetrics:
        """Reduce over all ranks; a collective operation."""
        _, _, _, rows, size, _ = self._counter.totals()
        everything = torch.cat([self._losses.flatten(), self._losses.new_tensor([rows, size])])
        dist.all_reduce(everything)
        losses = everything[:-2].view(2, self._replicas)
        reduced = ReducedMetrics(
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
            self.watch.add(reduced.served_losses, reduced.examples)
        self._begin()
        return reduced

    def progress(self, phase: int, batches: int, examples: int) -> MetricsState:
        """Return the reduced totals."""
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
        """Restore an earlier state."""
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
