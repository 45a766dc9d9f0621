"""The manifest of a sweep around trials that a test trained itself."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from analysis.results.reading import MANIFEST


def write_manifest_of(directory: Path, arms: Mapping[str, Sequence[str]]) -> Path:
    """Write ``sweep.json``: the first arm is the baseline; places as seen from ``directory``."""
    facts = {"kind": "single", "model": "mlp", "activation": "relu", "beta": None, "components": 1}
    manifest = {
        "experiment": "small",
        "baseline": next(iter(arms)),
        "varied": ["shuffle"],
        "arms": [{"name": name, **facts, "trials": list(each)} for name, each in arms.items()],
        "sources": [],
    }
    directory.mkdir(parents=True, exist_ok=True)
    (directory / MANIFEST).write_text(json.dumps(manifest))
    return directory
