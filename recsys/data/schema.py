"""What the columns of a click log are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from recsys.errors import DataError

# A multi-valued feature's name is part of file names: nothing that leaves the directory or hides.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_ .-]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class SparseFeature:
    """A categorical feature and the size of its embedding table.

    ``cardinality`` counts the rows of the table. Row 0 stands for a missing value and for one that
    is out of the vocabulary; known values take the rows from 1 on.
    """

    name: str
    cardinality: int
    multi_valued: bool = False

    def __post_init__(self) -> None:
        """Raise DataError for a name that cannot be part of a file's, or for an empty table."""
        if not _NAME.fullmatch(self.name):
            raise DataError(
                f"feature {self.name!r}: expected a name of letters, digits, '_', '-', '.', ' '"
            )
        if self.cardinality < 1:
            raise DataError(
                f"feature {self.name!r}: its table has {self.cardinality} rows, expected at least 1"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Schema:
    """The features of a click log; the order of ``sparse`` is the order of keys everywhere.

    ``group`` names what the group column holds (a user, a request), or is None where rows belong
    to no group; then every row is a group of its own.
    """

    dense: tuple[str, ...] = ()
    sparse: tuple[SparseFeature, ...] = ()
    group: str | None = None

    def __post_init__(self) -> None:
        """Raise DataError if two features share a name or there are none at all."""
        names = [*self.dense, *(feature.name for feature in self.sparse)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise DataError(f"schema: feature {twice[0]!r} appears twice")
        if not names:
            raise DataError("schema: there is no feature, expected at least one")

    @property
    def single_valued(self) -> tuple[SparseFeature, ...]:
        """The sparse features with one id per row, in schema order: the columns of ``ids``."""
        return tuple(feature for feature in self.sparse if not feature.multi_valued)

    @property
    def multi_valued(self) -> tuple[SparseFeature, ...]:
        """The sparse features with a bag of ids per row, in schema order."""
        return tuple(feature for feature in self.sparse if feature.multi_valued)

    def to_json(self) -> dict[str, Any]:
        """Return the schema as plain values, as stored in ``meta.json``."""
        return {
            "dense": list(self.dense),
            "sparse": [asdict(feature) for feature in self.sparse],
            "group": self.group,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Schema:
        """Return the schema that ``to_json`` described; KeyError or TypeError if it is none."""
        return cls(
            dense=tuple(value["dense"]),
            sparse=tuple(SparseFeature(**feature) for feature in value["sparse"]),
            group=value["group"],
        )
