"""The columns of a click log."""

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

    ``cardinality`` is the number of rows. Row 0 is for missing and out-of-vocabulary values.
    """

    name: str
    cardinality: int
    multi_valued: bool = False

    def __post_init__(self) -> None:
        """Raise DataError for a name that is not a valid file name part, or an empty table."""
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
    """The features of a click log; ``sparse`` determines the order of keys.

    ``group`` names the group column (a user, a request), or is None; then every row is its own
    group.
    """

    dense: tuple[str, ...] = ()
    sparse: tuple[SparseFeature, ...] = ()
    group: str | None = None

    def __post_init__(self) -> None:
        """Raise DataError for duplicate names or no features."""
        names = [*self.dense, *(feature.name for feature in self.sparse)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise DataError(f"schema: feature {twice[0]!r} appears twice")
        if not names:
            raise DataError("schema: there is no feature, expected at least one")

    @property
    def single_valued(self) -> tuple[SparseFeature, ...]:
        """The sparse features with one id per row, in order: the columns of ``ids``."""
        return tuple(feature for feature in self.sparse if not feature.multi_valued)

    @property
    def multi_valued(self) -> tuple[SparseFeature, ...]:
        """The sparse features with a bag of ids per row, in order."""
        return tuple(feature for feature in self.sparse if feature.multi_valued)

    def to_json(self) -> dict[str, Any]:
        """Return the schema as JSON values, as in ``meta.json``."""
        return {
            "dense": list(self.dense),
            "sparse": [asdict(feature) for feature in self.sparse],
            "group": self.group,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Schema:
        """Return the schema of ``to_json``; KeyError or TypeError if invalid."""
        return cls(
            dense=tuple(value["dense"]),
            sparse=tuple(SparseFeature(**feature) for feature in value["sparse"]),
            group=value["group"],
        )
