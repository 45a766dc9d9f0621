"""Evaluation of R replicas: during training, and of the served part at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from pydantic import PlainSerializer, PlainValidator
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from distrib.engines.asynchronous.leases import StalenessHistogram
from distrib.errors import TrialFailed
from distrib.training.device_transfer import device_batches
from distrib.trials.json_values import Array, array_json, array_of
from distrib.trials.results import provenance
from distrib.trials.trial import Trial, TrialResult
from recsys import metrics
from recsys.config import Recipe
from recsys.cost import Cost, LookupCounter, Lookups, dense_flops, latency, parameters
from recsys.data.click_log import ClickLog
from recsys.data.stream import Batches
from recsys.module import Arm, EmbeddingFactory, served_logits, served_part, without_gradient
from recsys.serving.weights import weights_of

_SERVE_BATCH = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationPoint:
    """The results of one evaluation."""

    examples: int
    progressive_log_loss: Array
    """float64 ``[R]``: of the examples since the last point, each before it was trained on"""
    rows: Array
    """int64 ``[n]``: the evaluation examples looked at"""
    logits: Array
    """float32 ``[R, n]``"""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluatorState:
    """The state of an Evaluator, in a snapshot or checkpoint."""

    seen: int
    seen_before: int
    loss: Annotated[
        Tensor,
        PlainValidator(lambda value: torch.from_numpy(array_of(value))),
        PlainSerializer(lambda loss: array_json(loss.cpu().numpy())),
    ]
    points: tuple[EvaluationPoint, ...]


class Evaluator:
    """Progressive validation of every batch, and evaluation at points of the stream."""

    def __init__(
        self, log: ClickLog, recipe: Recipe, replicas: int, device: torch.device, batches: int
    ) -> None:
        rows = log.splits[recipe.evaluation.split]
        count = min(recipe.evaluation.progress_examples, len(rows))
        self.rows = rows.start + np.linspace(0, len(rows) - 1, count).astype(np.int64)
        self._batches = Batches(log, replicas)
        self._batch_size = recipe.evaluation.batch_size
        self._device = device
        due = np.ceil(np.linspace(0, batches, recipe.evaluation.points + 1)[1:])
        self._due = set(due.astype(int).tolist())
        self._seen = self._seen_before = 0
        self._loss = torch.zeros(replicas, dtype=torch.float64, device=device)
        self.points: list[EvaluationPoint] = []

    def observe(self, logits: Tensor, labels: Tensor) -> None:
        """Add the served logits ``(R, B)`` of a batch before training on it."""
        losses = binary_cross_entropy_with_logits(logits.detach(), labels, reduction="none")
        self.add(losses.sum(1), labels.shape[1])

    def add(self, losses: Tensor, examples: int) -> None:
        """Add losses ``(R,)``, summed over some examples, each before training on it."""
        self._loss += losses
        self._seen += examples

    def is_due(self, batches_before: int, batches_seen: int) -> bool:
        """Return whether a point is among the batches after ``batches_before``."""
        return any(number in self._due for number in range(batches_before + 1, batches_seen + 1))

    def state(self) -> EvaluatorState:
        """Return the current state."""
        return EvaluatorState(
            seen=self._seen,
            seen_before=self._seen_before,
            loss=self._loss.clone(),
            points=tuple(self.points),
        )

    def go_back(self, state: EvaluatorState) -> None:
        """Restore an earlier state."""
        self._seen, self._seen_before = state.seen, state.seen_before
        self._loss, self.points = state.loss.to(self._device, copy=True), list(state.points)

    def evaluate(self, arm: Arm) -> None:
        """Add a point: evaluate the arm."""
        logits = torch.cat(
            [
                arm.config.served_logits(without_gradient(arm, batch.to(self._device)))
                for batch in self._batches.same_rows(self.rows, self._batch_size)
            ],
            1,
        )
        self.add_point(logits.float().cpu().numpy())

    def add_point(self, logits: npt.NDArray[np.float32]) -> None:
        """Add a point: the served logits of ``rows``, ``[R, n]``."""
        _refuse_divergence(logits, self._seen)
        self.points.append(
            EvaluationPoint(
                examples=self._seen,
                progressive_log_loss=(self._loss / (self._seen - self._seen_before)).cpu().numpy(),
                rows=self.rows,
                logits=logits,
            )
        )
        self._seen_before = self._seen
        self._loss.zero_()


def _refuse_divergence(logits: npt.NDArray[np.float32], examples: int) -> None:
    """Raise TrialFailed if a replica of ``logits`` ``[R, n]`` predicts NaN or infinity."""
    diverged = ~np.isfinite(logits).all(axis=1)
    if diverged.any():
        which = ", ".join(str(replica) for replica in np.flatnonzero(diverged))
        raise TrialFailed(
            f"replica {which} of the {len(logits)} in this process diverged: it predicts NaN or "
            f"infinity after {examples} examples; a lower learning rate may help"
        )


def results(
    log: ClickLog,
    trials: Sequence[Trial],
    arm: Arm,
    make_embeddings: EmbeddingFactory,
    *,
    train_lookups: Lookups,
    train_examples_per_second: float,
    points: Sequence[EvaluationPoint],
    staleness: Sequence[StalenessHistogram] | None = None,
) -> list[TrialResult]:
    """Evaluate the served part of each trained replica, and measure its cost.

    ``staleness`` is each replica's, for engines that measure it.
    """
    recipe = trials[0].recipe
    device = next(arm.dense.parameters()).device
    rows = np.asarray(log.splits[recipe.evaluation.split], np.int64)
    served = served_part(arm, make_embeddings, range(len(trials)))
    counter = LookupCounter()
    logits = []
    batches = Batches(log, len(trials)).same_rows(rows, recipe.evaluation.batch_size)
    with device_batches(batches, device) as feed, torch.no_grad():
        for fed in feed:
            counter.count(served.tables, fed.on_host)
            logits.append(served_logits(served, fed.batch).float().cpu().numpy())
    found = np.concatenate(logits, axis=1)
    _refuse_divergence(found, len(log.splits["train"]) * recipe.stream.epochs)
    cost = _cost(
        log,
        recipe,
        arm,
        make_embeddings,
        train_lookups=train_lookups,
        serve_lookups=counter.lookups(),
        train_examples_per_second=train_examples_per_second,
    )
    return [
        TrialResult(
            example=rows,
            group=log.group[rows],
            label=log.label[rows],
            logit=found[replica],
            metrics=_metrics(log, rows, found[replica]),
            cost=cost,
            progress=_progress(log, points, replica),
            progress_predictions=_progress_predictions(points, replica),
            provenance=provenance(trial, device, fused_replicas=len(trials)),
            served_weights=partial(weights_of, served, replica),
            staleness=staleness[replica] if staleness is not None else None,
        )
        for replica, trial in enumerate(trials)
    ]


def _metrics(
    log: ClickLog, rows: npt.NDArray[np.int64], logits: npt.NDArray[np.float32]
) -> dict[str, float]:
    labels, groups = log.label[rows], log.group[rows]
    predictions = sigmoid(logits)
    return {
        "log_loss": metrics.log_loss(labels, predictions),
        "ne": metrics.normalized_entropy(labels, predictions),
        "auc": metrics.roc_auc(labels, predictions),
        "pr_auc": metrics.pr_auc(labels, predictions),
        "gauc": metrics.gauc(labels, predictions, groups=groups),
        "ranking_loss": metrics.ranking_loss(labels, predictions, groups=groups),
        "calibration": metrics.calibration(labels, predictions),
    }


def sigmoid(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return probabilities in float64, which are below 1 up to logit 36."""
    return 1 / (1 + np.exp(-logits.astype(np.float64)))


def _progress(log: ClickLog, points: Sequence[EvaluationPoint], replica: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "examples": point.examples,
            "progressive_log_loss": point.progressive_log_loss[replica],
            "eval_log_loss": metrics.log_loss(log.label[point.rows], predictions),
            "eval_auc": metrics.roc_auc(log.label[point.rows], predictions),
        }
        for point in points
        for predictions in [sigmoid(point.logits[replica])]
    )


def _progress_predictions(points: Sequence[EvaluationPoint], replica: int) -> pd.DataFrame:
    return pd.concat(
        pd.DataFrame(
            {"examples": point.examples, "example": point.rows, "logit": point.logits[replica]}
        )
        for point in points
    )


def _cost(
    log: ClickLog,
    recipe: Recipe,
    arm: Arm,
    make_embeddings: EmbeddingFactory,
    *,
    train_lookups: Lookups,
    serve_lookups: Lookups,
    train_examples_per_second: float,
) -> Cost:
    """Return the cost of one replica; serving is timed on a single replica."""
    device = next(arm.dense.parameters()).device
    alone = served_part(arm, make_embeddings, [0])
    rows = np.asarray(log.splits[recipe.evaluation.split][:_SERVE_BATCH], np.int64)
    (request,) = Batches(log, 1).same_rows(rows, _SERVE_BATCH)
    (example,) = Batches(log, len(arm.seeds)).same_rows(rows, _SERVE_BATCH)
    answered = latency(alone, request, device)
    trained_size = parameters(arm, recipe.optimizer)
    served_size = parameters(alone, None)
    return Cost(
        train_lookups=train_lookups.per_example,
        serve_lookups=serve_lookups.per_example,
        train_lookup_bytes=train_lookups.bytes_per_example,
        serve_lookup_bytes=serve_lookups.bytes_per_example,
        train_unique_rows=train_lookups.unique_rows_per_batch,
        train_sparse_parameters=trained_size.sparse,
        train_dense_parameters=trained_size.dense,
        serve_sparse_parameters=served_size.sparse,
        serve_dense_parameters=served_size.dense,
        parameters=served_size.total,
        optimizer_state_elements=trained_size.optimizer_state,
        train_dense_flops=dense_flops(arm, example.to(device)).forward_backward,
        serve_dense_flops=dense_flops(alone, request.to(device)).forward,
        train_examples_per_second=train_examples_per_second,
        fused_replicas=len(arm.seeds),
        serve_us_per_example=answered.us_per_example,
        serve_latency_us_p50=answered.p50_us,
        serve_latency_us_p99=answered.p99_us,
        serve_batch_size=answered.batch_size,
    )
