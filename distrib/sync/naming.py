"""Names of runs, and of what their checkpoints can go on from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from distrib.trial import Trial, code_digest, library_versions

_PLACEMENT = {
    "workers",
    "sharding",
    "table_sharding",
    "device",
    "threads",
    "compile",
}
_HOUSEKEEPING = {
    "checkpoint_every",
    "checkpoints_kept",
    "max_failures",
    "tracking",
    "track_every",
}


def run_name(trials: Sequence[Trial]) -> str:
    """Return the name of the run that trains these trials side by side."""
    if len(trials) == 1:
        return trials[0].digest
    return hashlib.sha256(" ".join(each.digest for each in trials).encode()).hexdigest()[:16]


def training_digest(trials: Sequence[Trial]) -> str:
    """Return a hash of all that decides the model, but for how it is placed and watched.

    Checkpoints of trainings with one digest can go on from each other.
    """
    deciding = [each.as_dict() for each in trials]
    for each in deciding:
        for field in _PLACEMENT | _HOUSEKEEPING:
            each["recipe"]["engine"].pop(field)
    whole = {
        "trials": deciding,
        "code": code_digest(trials[0].recipe.model),
        "libraries": library_versions(),
    }
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:16]
