"""Ways to damage one file of a sweep, in place."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

Damage = Callable[[Path], object]


def text(content: str) -> Damage:
    """Put something else into a file."""
    return lambda path: path.write_text(content, encoding="utf-8")


def fields(**changes: Any) -> Damage:
    """Change fields of a JSON object; the name ``a__b`` is the field ``b`` inside ``a``."""

    def damage(path: Path) -> None:
        value = json.loads(path.read_text(encoding="utf-8"))
        for name, change in changes.items():
            inner, *steps = value, *name.split("__")
            for step in steps[:-1]:
                inner = inner[int(step) if step.isdigit() else step]
            inner[int(steps[-1]) if steps[-1].isdigit() else steps[-1]] = change
        path.write_text(json.dumps(value), encoding="utf-8")

    return damage


def rows(change: Callable[[pa.Table], pa.Table]) -> Damage:
    """Change a Parquet file as a whole."""
    return lambda path: pq.write_table(change(pq.read_table(path)), path)


def column(name: str, value: Any, kind: pa.DataType | None = None) -> Damage:
    """Put one value into each row of a column of a Parquet file."""

    def change(table: pa.Table) -> pa.Table:
        at = table.column_names.index(name)
        return table.set_column(at, name, pa.array([value] * len(table), kind))

    return rows(change)


def first_of(name: str, value: Any) -> Damage:
    """Put a value into the first row of a column of a Parquet file, which keeps its type."""

    def change(table: pa.Table) -> pa.Table:
        at = table.column_names.index(name)
        values = np.asarray(table[name])[1:].tolist()
        return table.set_column(at, name, pa.array([value, *values], table[name].type))

    return rows(change)
