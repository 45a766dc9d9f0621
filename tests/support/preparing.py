"""Tables prepared as a user prepares them, from files of any kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from recsys.data.click_log import ClickLog
from recsys.data.preparation import Split, SplitBy, prepare
from recsys.data.readers.delimited import Paths, find_sources
from recsys.data.readers.table_schema import TableSchema
from recsys.data.readers.tabular import PATTERNS, Tabular

ALL_TRAIN = Split(by=SplitBy.FRACTION, valid=0, test=0)
SCHEMA = {"label": "y", "categorical": ["c"]}
LABELS = [0, 1, 0, 1]


def prepared(
    directory: Path,
    source: Path,
    schema: dict[str, Any] | None = None,
    split: Split | None = ALL_TRAIN,
    test: Path | None = None,
    name: str = "log",
    **changes: object,
) -> ClickLog:
    """Return the click log of a file or directory, all of it for training unless told otherwise."""
    paths = Paths(train=[source], test=[test] if test else [])
    described = TableSchema.model_validate((schema or SCHEMA) | changes)
    reader = Tabular(find_sources(paths, PATTERNS), described)
    return prepare(reader, directory / name, split=split)


def write_parquet(path: Path, **columns: object) -> Path:
    """Write columns beside the labels ``y`` and return the path."""
    pa.parquet.write_table(pa.table({"y": LABELS} | columns), path)
    return path
