"""The one way out: a trial's directory, which appears whole or not at all."""

from __future__ import annotations

import json
import shutil
import uuid
from math import isnan
from pathlib import Path
from typing import Any

import pandas as pd

from distrib.trial import Trial, TrialResult

DONE = "DONE"


def trial_directory(directory: Path, trial: Trial) -> Path:
    """Return where a sweep in ``directory`` keeps a trial."""
    return directory / "trials" / trial.digest


def is_done(directory: Path, trial: Trial) -> bool:
    """Tell whether the trial's result is there, whole."""
    return (trial_directory(directory, trial) / DONE).exists()


def write_trial(directory: Path, trial: Trial, result: TrialResult) -> Path:
    """Write a trial below a sweep's ``directory`` and return its own directory.

    Everything goes to a temporary neighbour first, ``DONE`` last, then takes the trial's name.
    What a failed try left under that name gives way; a result that is there already stays.
    """
    place = trial_directory(directory, trial)
    unfinished = place.with_name(f".{place.name}.{uuid.uuid4().hex[:8]}")
    unfinished.mkdir(parents=True)
    try:
        _write_files(unfinished, trial, result)
        if (place / DONE).exists():
            return place
        if place.exists():
            shutil.rmtree(place)
        unfinished.rename(place)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return place


def _write_files(place: Path, trial: Trial, result: TrialResult) -> None:
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
    (place / DONE).touch()


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")
