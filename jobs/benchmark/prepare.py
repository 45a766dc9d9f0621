"""How fast, and in how much memory, Criteo's logs are prepared.

A sample is repeated to a given number of rows and to four times as many: where memory is bounded,
both need the same. Every preparation has a process of its own, whose processor time (of all its
threads) gives the rows per second and core, and whose largest resident set is the peak.
"""

from __future__ import annotations

import gzip
import re
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from rich.console import Console
from rich.table import Table

from recsys.data.preparation import Encodings
from recsys.data.preparation import prepare as prepare_log
from recsys.data.readers.criteo import PATTERNS, Criteo
from recsys.data.readers.delimited import Paths, find_sources
from recsys.data.readers.reader import Source
from recsys.errors import ConfigError

ENCODINGS = ("hash:100000", "vocabulary:10")
_CATEGORY = re.compile(rb"\t[0-9a-f]{3}(?=[0-9a-f]{5}(?:\t|$))", re.MULTILINE)
_LEVEL = 6  # of gzip, as gzip itself has it by default
_REPETITIONS = 1 << 12  # what three hexadecimal digits can tell apart


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What one preparation took, in a process of its own."""

    rows: int
    processor_s: float
    wall_s: float
    idle_bytes: int
    peak_bytes: int


def prepare(
    source: Annotated[list[Path], typer.Option(help="Criteo files, or a directory of them.")],
    rows: Annotated[int, typer.Option(min=1, help="Rows of the smaller log.")] = 1_000_000,
    distinct: Annotated[
        bool, typer.Option("--distinct", help="Give each repetition categories of its own.")
    ] = False,
) -> None:
    """Print rows per second and core and the peak memory of preparing Criteo's logs."""
    sample = b"".join(_read(one.path) for one in find_sources(Paths(train=source), PATTERNS))
    table = Table(title="Criteo's logs: rows per second of one core, and of the clock")
    for column in ("file", "encoding", "rows", "per core", "rows/s", "idle MiB", "peak MiB"):
        table.add_column(column, no_wrap=True)
    with tempfile.TemporaryDirectory() as scratch:
        for name, opener in (("plain", _plain), ("gzip", _packed)):
            for times in (1, 4):
                path = Path(scratch) / f"{name}{times}"
                with opener(path) as file:
                    _repeat(sample, times * rows, file, distinct=distinct)
                for encoding in ENCODINGS:
                    table.add_row(name, encoding, *_cells(measure(path, encoding)))
                path.unlink()
    Console().print(table)


def measure(path: Path, encoding: str) -> Measured:
    """Prepare a file in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_prepare_here, path, encoding).result()


def _prepare_here(path: Path, encoding: str) -> Measured:
    """Prepare a file in this process, which has done nothing yet."""
    idle = resource.getrusage(resource.RUSAGE_SELF)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        reader = Criteo((Source(path=path),))
        chosen = Encodings(default=encoding)
        log = prepare_log(reader, Path(scratch) / "log", encodings=chosen)
        wall_s = time.perf_counter() - start
        used = resource.getrusage(resource.RUSAGE_SELF)
        return Measured(
            rows=len(log),
            processor_s=used.ru_utime + used.ru_stime - idle.ru_utime - idle.ru_stime,
            wall_s=wall_s,
            idle_bytes=idle.ru_maxrss * 1024,
            peak_bytes=used.ru_maxrss * 1024,
        )


def _cells(found: Measured) -> tuple[str, ...]:
    return (
        f"{found.rows:,}",
        f"{found.rows / found.processor_s:,.0f}",
        f"{found.rows / found.wall_s:,.0f}",
        f"{found.idle_bytes >> 20:,}",
        f"{found.peak_bytes >> 20:,}",
    )


def _read(path: Path) -> bytes:
    content = path.read_bytes()
    return gzip.decompress(content) if path.suffix == ".gz" else content


def _plain(path: Path) -> BinaryIO:
    return path.open("wb")


def _packed(path: Path) -> gzip.GzipFile:
    return gzip.open(path, "wb", compresslevel=_LEVEL)


def _repeat(sample: bytes, rows: int, file: BinaryIO | gzip.GzipFile, *, distinct: bool) -> None:
    """Write the sample until there are at least ``rows`` rows."""
    repetitions = -(-rows // sample.count(b"\n"))
    if distinct and repetitions > _REPETITIONS:
        raise ConfigError(f"--distinct: {repetitions} repetitions, expected {_REPETITIONS} at most")
    for repetition in range(repetitions):
        mark = b"\t%03x" % repetition
        file.write(_CATEGORY.sub(mark, sample) if distinct else sample)
