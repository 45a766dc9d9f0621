"""``slices.parquet``: what the report needs of the click log to slice prediction difference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.slices import GROUP, ITEM, SLICES
from analysis.writing import write_whole
from recsys.calls import listed
from recsys.data.click_log import ClickLog
from recsys.errors import ConfigError


def item_column(log: ClickLog, item: str | None) -> int | None:
    """Return which column of ``ids`` holds the item, None where none is named.

    Raises:
        ConfigError: the click log has no single-valued feature of that name.
    """
    if item is None:
        return None
    names = [feature.name for feature in log.schema.single_valued]
    if item not in names:
        raise ConfigError(
            f"data.item: {log.directory} has no single-valued feature {item!r},"
            f" expected one of {listed(names)}"
        )
    return names.index(item)


def write_slices(directory: Path, log: ClickLog, split: str, item: str | None) -> Path | None:
    """Write how often each evaluation example's group and item occur in the training examples.

    Columns ``example`` int64 (row of the click log) and, as far as the log has them,
    ``group_examples`` and ``item_examples`` int64; the file's metadata names the two features.
    None where there is neither.

    Raises:
        ConfigError: as ``item_column``.
    """
    column = item_column(log, item)
    rows = log.splits[split]
    columns: dict[str, npt.NDArray[np.int64]] = {"example": np.asarray(rows, np.int64)}
    names: dict[str, str] = {}
    if log.schema.group is not None:
        columns[GROUP] = _occurrences(log.group, log.splits["train"], rows)
        names[GROUP] = log.schema.group
    if column is not None and item is not None:
        columns[ITEM] = _occurrences(log.ids[:, column], log.splits["train"], rows)
        names[ITEM] = item
    if not names:
        return None
    table = pa.table(columns).replace_schema_metadata(names)
    # To pyarrow, a relative path with a colon is a URI.
    path = (directory / SLICES).absolute()
    return write_whole(path, lambda unfinished: pq.write_table(table, unfinished))


def _occurrences(
    values: npt.NDArray[np.integer], train: range, rows: range
) -> npt.NDArray[np.int64]:
    """Return how often the value of each of ``rows`` occurs among the rows of ``train``."""
    known, counts = np.unique(values[train.start : train.stop], return_counts=True)
    asked = values[rows.start : rows.stop]
    if not len(known):
        return np.zeros(len(asked), np.int64)
    place = np.minimum(np.searchsorted(known, asked), len(known) - 1)
    return np.where(known[place] == asked, counts[place], 0).astype(np.int64)
