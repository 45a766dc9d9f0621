"""Scalars on the way, for the tools that people watch trainings with. The first rank tells them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from distrib.engines.synchronous.training_metrics import ReducedMetrics
from distrib.training.evaluator import EvaluationPoint, sigmoid
from recsys import metrics
from recsys.config import Recipe
from recsys.credentials import redacted
from recsys.data.click_log import ClickLog
from recsys.engines import SyncEngine

_EVENTS = "tensorboard"
MLFLOW_RUN = "mlflow_run_id"
"""The file of the run that a training which goes on goes on in"""


class Tracker(Protocol):
    """Takes named numbers at a number of examples."""

    def tell(self, examples: int, scalars: Mapping[str, float]) -> None:
        """Take what is known after so many examples of a replica."""
        ...

    def close(self) -> None:
        """Write out what was told."""
        ...


def tracker(recipe: Recipe, run: Path, *, start: int) -> Tracker:
    """Return the tracker that a recipe asks for, of a run that goes on from ``start`` examples.

    Only the first rank is to ask for one.
    """
    assert isinstance(recipe.engine, SyncEngine)
    if recipe.engine.tracking == "mlflow":
        return _MLflow(recipe, run)
    if recipe.engine.tracking == "tensorboard":
        return _TensorBoard(run, start)
    return NullTracker()


def files_of(run: Path) -> list[Path]:
    """Return what trackers keep in a run's folder, but for databases of their own."""
    return [*(run / _EVENTS).glob("*"), *run.glob(MLFLOW_RUN)]


def training_scalars(settled: ReducedMetrics, phase: str, *, served: bool) -> dict[str, float]:
    """Return what training tells: losses of each replica, and examples of all per second."""
    replicas = len(settled.losses)
    scalars = {f"speed/{phase}/examples_per_second": settled.examples * replicas / settled.seconds}
    scalars |= _by_replica(f"loss/{phase}/objective", settled.losses / settled.batches)
    if served:
        losses = settled.served_losses / settled.examples
        scalars |= _by_replica("loss/progressive_log_loss", losses)
    return scalars


def evaluation_scalars(log: ClickLog, point: EvaluationPoint) -> dict[str, float]:
    """Return what an evaluation on the way tells, for each replica."""
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
    """Lets scalars go."""

    def tell(self, examples: int, scalars: Mapping[str, float]) -> None:
        pass

    def close(self) -> None:
        pass


class _TensorBoard:
    """Event files in ``RUN/tensorboard``; what a lost try told after ``start`` is taken back.

    What was told less than a second before a process is killed is lost with it.
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
    """An MLflow run, where ``MLFLOW_TRACKING_URI`` says or in ``RUN/mlflow.db``.

    A training that goes on goes on in the same run, whose id is kept in the run's folder.
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
