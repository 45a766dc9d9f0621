"""DeepCTR-Torch's DeepFM, on the same examples and with the same sizes."""

from __future__ import annotations

import time
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import torch

from recsys.config import Recipe
from recsys.data.click_log import ClickLog
from recsys.errors import ConfigError
from recsys.models.config import DeepFMConfig

_WARM_UP = 2


def library() -> ModuleType:
    """Return DeepCTR-Torch.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return import_module("deepctr_torch")
    except ImportError as error:
        raise ConfigError(
            f'DeepCTR-Torch: {error}; pip install "soloist[peers]" brings it'
        ) from None


def rate(log: ClickLog, recipe: Recipe, batches: int, *, regularised: bool) -> float:
    """Train on the first batches through its ``fit`` and return the examples per second.

    ``regularised``: with the penalty on tables that it has by default, else without any.
    """
    library()
    torch.set_num_threads(recipe.engine.threads)
    torch.set_float32_matmul_precision(recipe.engine.matmul_precision)
    model = _model(log, recipe, {} if regularised else {"l2_reg_linear": 0, "l2_reg_embedding": 0})
    size = recipe.stream.batch_size
    _fit(model, log, size, _WARM_UP)
    start = time.perf_counter()
    _fit(model, log, size, batches)
    return size * batches / (time.perf_counter() - start)


def _model(log: ClickLog, recipe: Recipe, penalties: dict[str, float]) -> Any:
    inputs, models = import_module("deepctr_torch.inputs"), import_module("deepctr_torch.models")
    config = recipe.model
    assert isinstance(config, DeepFMConfig)
    columns = [
        *(
            inputs.SparseFeat(feature.name, feature.cardinality, config.embedding_dim)
            for feature in log.schema.sparse
        ),
        *(inputs.DenseFeat(name, 1) for name in log.schema.dense),
    ]
    model = models.DeepFM(
        columns,
        columns,
        dnn_hidden_units=config.hidden,
        device="cpu",
        **penalties,
    )
    model.compile("adagrad", "binary_crossentropy")
    return model


def _fit(model: Any, log: ClickLog, size: int, batches: int) -> None:
    start = log.splits["train"].start
    rows = slice(start, start + size * batches)
    features: dict[str, np.ndarray] = {
        feature.name: log.ids[rows, number] for number, feature in enumerate(log.schema.sparse)
    }
    features |= {name: log.dense[rows, number] for number, name in enumerate(log.schema.dense)}
    model.fit(features, log.label[rows], batch_size=size, epochs=1, verbose=0, shuffle=False)
