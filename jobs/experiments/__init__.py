"""The experiments that come with Soloist, one YAML file each."""

from __future__ import annotations

from pathlib import Path


def shipped_experiments() -> dict[str, Path]:
    """Return them by name."""
    return {path.stem: path for path in sorted(Path(__file__).parent.glob("*.yaml"))}
