"""Scalars in the tools that people watch trainings with."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss

from distrib.engines.synchronous.metrics import (
    ReducedMetrics,
    evaluation_scalars,
    tracker,
    training_scalars,
)
from distrib.training.evaluator import EvaluationPoint, sigmoid
from recsys.models.config import CustomModelConfig
from tests.support.events import scalars
from tests.support.logs import small_log, small_recipe


def of_tracking(name):
    return small_recipe(engine={"name": "sync", "tracking": name})


def test_training_tells_means_over_what_was_settled():
    reduced = ReducedMetrics(
        batches=4,
        examples=100,
        served_losses=torch.tensor([50.0, 60.0]),
        losses=torch.tensor([3.0, 4.0]),
        seconds=0.5,
    )

    told = training_scalars(reduced, "joint", served=True)

    assert told == {
        "speed/joint/examples_per_second": 400.0,
        "loss/joint/objective/replica_0": 0.75,
        "loss/joint/objective/replica_1": 1.0,
        "loss/progressive_log_loss/replica_0": 0.5,
        "loss/progressive_log_loss/replica_1": pytest.approx(0.6),
    }


def test_evaluation_tells_the_metrics_of_what_was_served(tmp_path):
    log = small_log(tmp_path)
    rows = np.asarray(log.splits["test"])[:50]
    logits = np.linspace(-2, 2, 50, dtype=np.float32)[None]
    point = EvaluationPoint(examples=1, progressive_log_loss=np.zeros(1), rows=rows, logits=logits)

    told = evaluation_scalars(log, point)

    expected = log_loss(log.label[rows], sigmoid(logits)[0])
    assert told["evaluation/log_loss"] == pytest.approx(expected)
    assert set(told) == {"evaluation/log_loss", "evaluation/auc"}


def test_tensorboard_gets_event_files(tmp_path):
    told = tracker(of_tracking("tensorboard"), tmp_path, start=0)

    told.tell(64, {"loss": 0.5})
    told.tell(128, {"loss": 0.25})
    told.close()

    (file,) = (tmp_path / "tensorboard").iterdir()
    assert scalars(file) == [("loss", 64, 0.5), ("loss", 128, 0.25)]


def test_nobody_is_told_where_nobody_asks(tmp_path):
    told = tracker(of_tracking("none"), tmp_path, start=0)

    told.tell(64, {"loss": 0.5})
    told.close()

    assert list(tmp_path.iterdir()) == []


def test_mlflow_gets_no_credentials(tmp_path, monkeypatch):
    logged = {}
    started = SimpleNamespace(info=SimpleNamespace(run_id="run"))
    stand_in = SimpleNamespace(
        set_tracking_uri=print, start_run=lambda run_name: started, log_params=logged.update
    )
    monkeypatch.setitem(sys.modules, "mlflow", stand_in)
    places = {"storage": "s3://K:SEC/RET@b/x", "resume": "s3://K:SEC@b/x"}
    model = CustomModelConfig(name="a:b", options={"vectors": "s3://K:SEC/RET@b/v"})
    recipe = small_recipe(engine={"name": "sync", "tracking": "mlflow"} | places)

    tracker(recipe.model_copy(update={"model": model}), tmp_path, start=0)

    assert logged["model.options.vectors"] == "s3://b/v"
    assert "SEC" not in str(logged)


def test_mlflow_gets_parameters_and_metrics_in_one_run_that_goes_on(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="the optional extra 'tracking'")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    recipe = of_tracking("mlflow")

    for start, loss in ((0, 0.5), (64, 0.25)):
        told = tracker(recipe, tmp_path, start=start)
        told.tell(start + 64, {"loss": loss})
        told.close()

    client = mlflow.MlflowClient()
    (run,) = client.search_runs([each.experiment_id for each in client.search_experiments()])
    assert run.info.run_name == tmp_path.name
    assert run.data.params["engine.tracking"] == "mlflow"
    assert run.data.params["optimizer.sparse"] == "rowwise_adagrad"
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(each.step, each.value) for each in history] == [(64, 0.5), (128, 0.25)]
