"""A trial: one replica of one arm, content-addressed by everything that determines its result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import recsys
from recsys.config import Recipe
from recsys.credentials import redacted
from recsys.errors import ConfigError
from recsys.models.config import CustomModelConfig, ModelConfig
from recsys.models.custom.blueprint import source_digest
from recsys.seeds import Seeds

if TYPE_CHECKING:  # a process that hands trials on need not wait for pandas and TorchRec
    import numpy as np
    import pandas as pd

    from distrib.engines.asynchronous.leases import StalenessHistogram
    from distrib.parameter_store.recording import Recording
    from recsys.cost import Cost
    from recsys.serving.weights import ServedWeights

_DECIDING_LIBRARIES = ("torch", "torchrec", "numpy")
_DECIDING_ROOMS = ("recsys", "distrib")
_UNDECIDING = (
    "recsys/data/readers/",  # the click log's fingerprint speaks for them
    "recsys/credentials.py",
    "recsys/data/download.py",
    "recsys/serving/",
    "distrib/trials/failures.py",
    "distrib/scheduling/group_task.py",
    "distrib/trials/grouping.py",
    "distrib/scheduling/resources.py",
    "distrib/trials/remote_results.py",
    "distrib/scheduling/resources.py",
    "distrib/scheduling/group_task.py",
    "distrib/scheduling/runner.py",
    "distrib/scheduling/session.py",
    "distrib/scheduling/stall_detection.py",
    "distrib/scheduling/status.py",
    "distrib/scheduling/progress.py",
    "distrib/scheduling/stall_detection.py",
)
"""What makes data or moves trials about, and so decides no result of a trial."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """The recipe, seeds and data of a training."""

    recipe: Recipe
    seeds: Seeds
    data_fingerprint: str

    def as_dict(self) -> dict[str, Any]:
        """Return the content of ``config.json``, without credentials."""
        return {
            "recipe": redacted(self.recipe.model_dump(mode="json")),
            "seeds": asdict(self.seeds),
            "data_fingerprint": self.data_fingerprint,
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Trial:
        """Return the trial of a ``config.json``; KeyError, TypeError or ValueError if invalid."""
        return cls(
            recipe=Recipe.model_validate(value["recipe"]),
            seeds=Seeds(**value["seeds"]),
            data_fingerprint=value["data_fingerprint"],
        )

    @property
    def digest(self) -> str:
        """Hex name of the trial: a hash of configuration, seeds, data, code and libraries."""
        deciding = self.as_dict() | {
            "code": code_digest(self.recipe.model),
            "libraries": library_versions(),
        }
        return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialResult:
    """The result of one replica's training."""

    example: np.ndarray
    """int64 ``[N]``: rows of the click log"""
    group: np.ndarray
    """int64 ``[N]``"""
    label: np.ndarray
    """float32 ``[N]``"""
    logit: np.ndarray
    """float32 ``[N]``"""
    metrics: dict[str, float]
    cost: Cost
    progress: pd.DataFrame
    """One row an evaluation point: examples, progressive_log_loss, eval_log_loss, eval_auc"""
    progress_predictions: pd.DataFrame
    """examples, example, logit: the predictions behind ``progress``"""
    provenance: dict[str, Any]
    served_weights: Callable[[], ServedWeights]
    """Copies them when they are asked for: few trials keep theirs"""
    staleness: StalenessHistogram | None = None
    """Of the pushes of an asynchronous engine"""
    recording: Recording | None = None
    """What a replay needs, where it was asked for"""


def code_digest(model: ModelConfig) -> str:
    """Return a hash of the source that determines a model: Soloist's, and a custom model's.

    Raises:
        ConfigError: the custom model is not found.
    """
    own = f"+{source_digest(model.name)}" if isinstance(model, CustomModelConfig) else ""
    return _rooms_digest() + own


@cache
def _rooms_digest() -> str:
    digest = hashlib.sha256()
    root = Path(recsys.__file__).resolve().parents[1]
    for room in _DECIDING_ROOMS:
        sources = [*(root / room).rglob("*.py"), *(root / room).rglob("*.cpp")]
        for path in sorted(sources):
            name = path.relative_to(root).as_posix()
            if not name.startswith(_UNDECIDING):
                digest.update(name.encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@cache
def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that determine a model.

    Without the build (``+cpu``), which may differ between driver and workers.
    """
    versions = {name: version(name).split("+")[0] for name in _DECIDING_LIBRARIES}
    return versions | {"fbgemm": _fbgemm_version()}


def _fbgemm_version() -> str:
    """Return FBGEMM's version; its builds are packages with different names."""
    for build in ("fbgemm-gpu-cpu", "fbgemm-gpu"):
        try:
            return version(build).split("+")[0]
        except PackageNotFoundError:
            continue
    raise ConfigError("FBGEMM: not installed; expected fbgemm-gpu-cpu or fbgemm-gpu")
