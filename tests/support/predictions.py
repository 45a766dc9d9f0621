"""Prediction files as any system might write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd


def predictions(models: int = 2, rows: int = 400, seed: int = 0) -> list[pd.DataFrame]:
    """Return the same examples with each model's predictions, groups and uneven weights."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 25, rows)
    truth = rng.normal(size=25)[group] + rng.normal(size=rows)
    shared = pd.DataFrame(
        {
            "example": rng.permutation(rows) + 10,
            "label": (rng.random(rows) < 1 / (1 + np.exp(-truth))).astype(int),
            "group": group,
            "weight": rng.integers(1, 4, rows) / 2,
        }
    )
    return [
        shared.assign(prediction=np.round(1 / (1 + np.exp(-truth - rng.normal(size=rows))), 3))
        for _ in range(models)
    ]


def write_all(directory: Path, tables: list[pd.DataFrame], kind: str = "parquet") -> list[Path]:
    """Write each table to a file of its own and return the paths: m0, m1, …"""
    paths = [directory / f"m{number}.{kind}" for number in range(len(tables))]
    for path, table in zip(paths, tables, strict=True):
        if kind == "csv":
            table.to_csv(path, index=False)
        else:
            table.to_parquet(path, index=False)
    return paths
