"""Time and peak memory of ``soloist compare`` on many rows: memory should not grow with them."""

from __future__ import annotations

import resource
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.special import expit
from typer import Option

from analysis.prediction_files.comparison import compare_files

_BLOCK_ROWS = 1 << 20
_GROUP_ROWS = 30


def compare(
    rows: Annotated[int, Option(min=1, help="Rows of each file.")] = 20_000_000,
    files: Annotated[int, Option(min=2, help="Prediction files.")] = 2,
    seed: Annotated[int, Option(help="Seed of labels and predictions.")] = 0,
) -> None:
    """Write files of random predictions, compare them, and print time and peak memory."""
    with tempfile.TemporaryDirectory(prefix="soloist-benchmark-") as name:
        paths = write_predictions(Path(name), rows=rows, files=files, seed=seed)
        peak_before = _peak_mebibytes()
        started = time.perf_counter()
        found = compare_files(paths)
        seconds = time.perf_counter() - started
    print(f"{files} files of {rows:,} rows, {found.groups:,} groups")
    print(f"{seconds:.1f} s, {files * rows / seconds:,.0f} rows/s")
    print(f"peak memory {_peak_mebibytes():,.0f} MiB, of which {peak_before:,.0f} before it began")


def write_predictions(directory: Path, *, rows: int, files: int, seed: int) -> list[Path]:
    """Write files of the same examples and labels, with independent noise in the predictions."""
    rng = np.random.default_rng(seed)
    paths = [directory / f"model{number}.parquet" for number in range(files)]
    columns = {"example": "int64", "group": "int64", "label": "int8", "prediction": "float32"}
    schema = pa.schema(list(columns.items()))
    with ExitStack() as stack:
        writers = [stack.enter_context(pq.ParquetWriter(path, schema)) for path in paths]
        for start in range(0, rows, _BLOCK_ROWS):
            count = min(_BLOCK_ROWS, rows - start)
            truth = rng.normal(size=count) - 1.0
            shared = {
                "example": np.arange(start, start + count),
                "group": rng.integers(0, max(rows // _GROUP_ROWS, 1), count),
                "label": (rng.random(count) < expit(truth)).astype(np.int8),
            }
            for writer in writers:
                predictions = expit(truth + 0.3 * rng.normal(size=count)).astype(np.float32)
                writer.write_table(pa.table({**shared, "prediction": predictions}, schema=schema))
    return paths


def _peak_mebibytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
