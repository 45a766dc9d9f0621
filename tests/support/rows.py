"""Random rows for tests, and rows as plain Python values to compare with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from recsys.data.click_log import ClickLog
from recsys.data.rows import Bag, Rows
from recsys.data.schema import Schema, SparseFeature
from recsys.data.writer import ClickLogWriter

SCHEMA = Schema(
    dense=("price",),
    sparse=(
        SparseFeature(name="item", cardinality=50),
        SparseFeature(name="tags", cardinality=9, multi_valued=True),
        SparseFeature(name="user", cardinality=20),
    ),
    group="user",
)


def random_rows(count: int, seed: int = 0) -> Rows:
    """Return rows of SCHEMA; the first has label 0, the second 1."""
    draw = np.random.default_rng(seed)
    lengths = draw.integers(0, 4, count)
    label = draw.integers(0, 2, count).astype(np.float32)
    label[:2] = [0, 1][:count]
    return Rows(
        label=label,
        dense=draw.normal(size=(count, 1)).astype(np.float32),
        ids=np.stack([draw.integers(0, 50, count), draw.integers(0, 20, count)], 1).astype(
            np.int32
        ),
        bags={
            "tags": Bag(
                values=draw.integers(0, 9, lengths.sum()).astype(np.int32),
                offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            )
        },
        group=draw.integers(0, 2**40, count),
    )


def plain(rows: Rows) -> list[tuple[object, ...]]:
    """Return each row as a tuple of Python values."""
    return [
        (
            float(rows.label[row]),
            rows.dense[row].tolist(),
            rows.ids[row].tolist(),
            {
                name: bag.values[bag.offsets[row] : bag.offsets[row + 1]].tolist()
                for name, bag in rows.bags.items()
            },
            int(rows.group[row]),
        )
        for row in range(len(rows))
    ]


def written_log(directory: Path, count: int = 40) -> ClickLog:
    """Write a log of random rows: the first half trains, the rest tests."""
    rows = random_rows(count)
    rows.label[count // 2 : count // 2 + 2] = [0, 1]
    with ClickLogWriter(directory, SCHEMA) as writer:
        writer.append("train", rows.take(np.arange(count // 2)))
        writer.append("test", rows.take(np.arange(count // 2, count)))
        return writer.finish()


@st.composite
def bags(draw: st.DrawFn) -> list[list[int]]:
    """Draw bags of ids as lists."""
    return draw(st.lists(st.lists(st.integers(0, 2**31 - 1), max_size=5), max_size=20))


def bag_of(lists: list[list[int]]) -> Bag:
    """Return lists of ids as a bag."""
    return Bag(
        values=np.array([value for values in lists for value in values], np.int32),
        offsets=np.cumsum([0, *map(len, lists)], dtype=np.int64),
    )


def lists_of(bag: Bag) -> list[list[int]]:
    """Return a bag as lists of ids."""
    return [part.tolist() for part in np.split(bag.values, bag.offsets[1:-1])] if len(bag) else []
