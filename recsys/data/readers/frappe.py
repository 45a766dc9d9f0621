"""Frappe: which app a phone's user chose, in which context (Baltrunas et al. 2015).

Comma-separated with a header: the label, then ten columns of integer codes. A directory's files
named like train, valid and test are the splits.
"""

from __future__ import annotations

from recsys.data.readers.delimited import COMPRESSED, Pattern
from recsys.data.readers.request import Request
from recsys.data.readers.table_schema import CategoricalColumn, TableSchema
from recsys.data.readers.tabular import Tabular

CATEGORICAL = (
    *("user", "item", "daytime", "weekday", "isweekend"),
    *("homework", "cost", "weather", "country", "city"),
)
PATTERNS = tuple(
    Pattern(glob=f"*{split}*.csv{suffix}", split=split)
    for split in ("train", "valid", "test")
    for suffix in COMPRESSED
)

_SCHEMA = TableSchema(
    label="label",
    categorical=tuple(CategoricalColumn(name=name) for name in CATEGORICAL),
    group="user",
)


def open_frappe(request: Request) -> Tabular:
    """Return the reader of the files that are asked for; the group is the user."""
    return Tabular(request.sources, _SCHEMA, name="frappe")
