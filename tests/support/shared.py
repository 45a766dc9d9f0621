"""Sample data that may not be redistributed lies beside the project, where it lies at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def shared(name: str) -> Path:
    """Return the path of a shared folder or file, or skip the test with the reason."""
    place = Path(os.environ.get("SOLOIST_SHARED", ROOT.parent / "shared")) / name
    if not place.exists():
        pytest.skip(f"{name} is not beside this checkout (SOLOIST_SHARED names its folder)")
    return place
