"""What a device or an installation cannot do, refused before any rank starts."""

from __future__ import annotations

import importlib.util
import os
import shutil

import torch

from recsys.config import Recipe
from recsys.engines import SyncEngine
from recsys.errors import ConfigError

_BFLOAT16_CAPABILITY = (8, 0)


def refuse_unavailable(recipe: Recipe, device: torch.device) -> None:
    """Refuse a precision, a compiler or a tracker that is not there, and GPUs shared by ranks.

    What a GPU can do is looked at where there is one: on ranks, and on a driver that has one too.

    Raises:
        ConfigError: names the field, what was found and what would work.
    """
    assert isinstance(recipe.engine, SyncEngine)
    _refuse_precision(recipe.engine, device)
    _refuse_shared_gpus(recipe.engine)
    if recipe.engine.compile:
        _refuse_no_compiler(device)
    if recipe.engine.tracking == "mlflow" and importlib.util.find_spec("mlflow") is None:
        raise ConfigError(
            "engine.tracking: found mlflow, which is not installed; "
            "expected pip install 'soloist[tracking]' first, or tensorboard"
        )


def refuse_lost_scalars(engine: SyncEngine, *, stored_at_uri: bool) -> None:
    """Refuse MLflow's own database in a run that lies where no database can.

    Raises:
        ConfigError: says what would work.
    """
    if engine.tracking == "mlflow" and stored_at_uri and "MLFLOW_TRACKING_URI" not in os.environ:
        raise ConfigError(
            "engine.tracking: found mlflow with checkpoints at a URI, where its database cannot "
            "lie; expected a server in MLFLOW_TRACKING_URI, or tensorboard"
        )


def _refuse_precision(engine: SyncEngine, device: torch.device) -> None:
    if engine.precision == "float16" and device.type == "cpu":
        raise ConfigError(
            "engine.precision: found float16 on a CPU, where its products are emulated; "
            "expected float32 or bfloat16"
        )
    if engine.precision == "bfloat16" and device.type == "cuda" and torch.cuda.is_available():
        found = torch.cuda.get_device_capability()
        if found < _BFLOAT16_CAPABILITY:
            raise ConfigError(
                f"engine.precision: found bfloat16 on a GPU of compute capability "
                f"{found[0]}.{found[1]}, which emulates it; expected float32 or float16"
            )


def _refuse_shared_gpus(engine: SyncEngine) -> None:
    found, (_, most) = engine.resources.num_gpus, engine.worker_range
    if found is not None and 0 < found < 1 < most:
        raise ConfigError(
            f"engine.resources.num_gpus: found {found:g} for each of {most} ranks, but NCCL takes "
            "no two on one GPU; expected 1, or workers: 1"
        )


def _refuse_no_compiler(device: torch.device) -> None:
    if device.type == "cuda":
        if importlib.util.find_spec("triton") is None:
            raise ConfigError(
                "engine.compile: found true, but Triton is not installed; expected false"
            )
        return
    named = os.environ.get("CXX")
    if not any(shutil.which(each) for each in ([named] if named else ["g++", "clang++"])):
        raise ConfigError(
            f"engine.compile: found true, but no C++ compiler ({named or 'g++, clang++ or $CXX'}); "
            "expected false, or an installed compiler"
        )
