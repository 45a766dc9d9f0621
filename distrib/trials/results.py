"""Writes and reads a trial's directory, atomically, with its provenance."""

from __future__ import annotations

import errno
import json
import os
import platform
import uuid
from contextlib import suppress
from dataclasses import asdict
from math import isnan
from pathlib import Path
from typing import Any

import pandas as pd
import torch

import recsys
from distrib.trials.trial import Trial, TrialResult, code_digest, library_versions
from recsys.errors import DataError
from recsys.files import expecting, read_json, remove
from recsys.serving.weights import has_weights, write_weights


def provenance(trial: Trial, device: torch.device, *, fused_replicas: int) -> dict[str, Any]:
    """Return the content of ``provenance.json``."""
    return {
        "soloist": recsys.__version__,
        "code": code_digest(trial.recipe.model),
        "libraries": library_versions() | {"python": platform.python_version()},
        "machine": machine(device),
        "threads": torch.get_num_threads(),
        "matmul_precision": torch.get_float32_matmul_precision(),
        "fused_replicas": fused_replicas,
        "seeds": asdict(trial.seeds),
    }


def machine(device: torch.device) -> dict[str, Any]:
    """Return the description of this machine for measurements."""
    return {
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "platform": platform.platform(),
        "device": str(device),
        "accelerator": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


def _processor() -> str:
    """Return the processor's name."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass  # not Linux: the platform module knows what there is to know
    return platform.processor() or platform.machine()


DONE = "DONE"
RUNS = "runs"
"""The folder beside the trials where engines keep what they go on from"""

_IN_THE_WAY = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)


def trial_directory(directory: Path, trial: Trial) -> Path:
    """Return the directory of a trial in a sweep's ``directory``."""
    return directory / "trials" / trial.digest


def is_done(directory: Path, trial: Trial, *, weights: bool = False) -> bool:
    """Return whether the trial is complete, with its weights if requested."""
    return _is_done(trial_directory(directory, trial), weights=weights)


def _is_done(place: Path, *, weights: bool) -> bool:
    return (place / DONE).exists() and (not weights or has_weights(place))


def write_trial(
    directory: Path, trial: Trial, result: TrialResult, *, keep_weights: bool = False
) -> Path:
    """Write a trial below a sweep's ``directory`` and return its directory.

    Files are written to a temporary directory, ``DONE`` last, which is then renamed. A failed
    attempt is replaced. A complete result is kept, unless it lacks requested weights; then it is
    replaced as a whole, so that weights and predictions are of one training. Of several concurrent
    writers, the first one's result is kept.
    """
    place = trial_directory(directory, trial)
    unfinished = place.with_name(f".{place.name}.{uuid.uuid4().hex[:8]}")
    replaced = unfinished.with_name(f"{unfinished.name}.replaced")
    unfinished.mkdir(parents=True)
    try:
        _write_files(unfinished, trial, result, keep_weights=keep_weights)
        while not is_done(directory, trial, weights=keep_weights):
            try:
                unfinished.rename(place)
                break
            except OSError as error:
                if error.errno not in _IN_THE_WAY:
                    raise
            with suppress(FileNotFoundError):  # another process was faster
                place.rename(replaced)
                if _is_done(replaced, weights=keep_weights):  # another process's, from just now
                    with suppress(OSError):
                        replaced.rename(place)
            remove(replaced)
    finally:
        remove(unfinished)
        remove(replaced)
    return place


def read_trial(place: Path) -> Trial:
    """Return the trial in a finished trial's directory.

    Raises:
        DataError: it is not a finished trial, or of another version of Soloist.
    """
    path = place / "config.json"
    if not (place / DONE).exists():
        raise DataError(f"{place}: not a finished trial ({DONE} is not there)")
    with expecting("what this version of Soloist writes", path):
        return Trial.from_dict(read_json(path))


def _write_files(place: Path, trial: Trial, result: TrialResult, *, keep_weights: bool) -> None:
    _write_json(place / "config.json", trial.as_dict())
    predictions = pd.DataFrame(
        {
            "example": result.example,
            "group": result.group,
            "label": result.label,
            "logit": result.logit,
        }
    )
    predictions.to_parquet(place / "predictions.parquet", index=False)
    result.progress.to_parquet(place / "progress.parquet", index=False)
    result.progress_predictions.to_parquet(place / "progress_predictions.parquet", index=False)
    defined = {name: None if isnan(value) else value for name, value in result.metrics.items()}
    _write_json(place / "metrics.json", defined)
    _write_json(place / "cost.json", result.cost.as_dict())
    _write_json(place / "provenance.json", result.provenance)
    if result.staleness is not None:
        _write_json(place / "staleness.json", result.staleness.as_dict())
    if result.recording is not None:
        result.recording.order.to_parquet(place / "order.parquet", index=False)
        _write_json(place / "digests.json", result.recording.digests)
    if keep_weights:
        write_weights(place, result.served_weights())
    (place / DONE).touch()


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")
