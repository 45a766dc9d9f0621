"""``program.json``: what an exported program takes, reads and comes from."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recsys.data.schema import Schema
from recsys.errors import DataError
from recsys.files import expecting, read_json

PROGRAM = "program.pt2"
DESCRIPTION = "program.json"
_FORMAT = "soloist program"
_VERSION = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class TableRead:
    """A table, and the features that read it: a row for each id."""

    features: tuple[str, ...]
    rows: int
    embedding_dim: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Description:
    """What ``program.json`` says.

    ``schema`` names the inputs and their order; an id is at least 0 and below its feature's
    cardinality, and 0 stands for a missing or unknown value.
    """

    schema: Schema
    tables: tuple[TableRead, ...]
    arm: dict[str, Any]
    model: dict[str, Any]
    trial: dict[str, Any]
    """Name, seeds, and the fingerprint of the click log"""
    libraries: dict[str, str]
    """With which the program was made"""
    sha256: str
    """Of ``program.pt2``"""

    @property
    def title(self) -> str:
        """The arm in a few words."""
        words = [str(self.arm.get("kind")), str(self.arm.get("activation"))]
        if self.arm.get("components") != 1:
            words.append(f"K={self.arm.get('components')}")
        return " ".join(words)

    def write(self, place: Path) -> None:
        """Write it into a directory."""
        told = {"format": _FORMAT, "version": _VERSION, **asdict(self)}
        told["schema"] = self.schema.to_json()
        (place / DESCRIPTION).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, place: Path) -> Description:
        """Return the description in a directory.

        Raises:
            DataError: there is none, or not of this version.
        """
        path = place / DESCRIPTION
        told = read_json(path, hint="; soloist export writes it")
        if (told.pop("format", None), told.pop("version", None)) != (_FORMAT, _VERSION):
            raise DataError(
                f"{path}: not the description of a program in version {_VERSION}; "
                "export the trial again"
            )
        with expecting("a whole description", path):
            told["schema"] = Schema.from_json(told["schema"])
            told["tables"] = tuple(
                TableRead(**{**table, "features": tuple(table["features"])})
                for table in told["tables"]
            )
            told |= {name: dict(told[name]) for name in ("arm", "model", "trial", "libraries")}
            return cls(**told)
