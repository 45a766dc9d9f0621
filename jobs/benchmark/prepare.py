"""Rows per second and peak memory of preparing Criteo's logs.

A sample is repeated to a given number of rows and to four times as many: memory is bounded if both
need the same. Every preparation runs in its own process, whose CPU time (of all its threads) gives
the rows per second and core, and whose maximum resident set size is the peak.
"""

from __future__ import annotations

import gzip
import re
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import IO, Annotated, Any

from rich.console import Console
from rich.table import Table
from typer import Option

from recsys.data.preparation import Encodings
from recsys.data.preparation import prepare as prepare_log
from recsys.data.readers.criteo import PATTERNS, Criteo
from recsys.data.readers.delimited import Paths, find_sources
from recsys.data.readers.reader import Source
from recsys.errors import ConfigError

_ENCODINGS = ("hash:100000", "vocabulary:10")
_CATEGORY = re.compile(rb"\t[0-9a-f]{3}(?=[0-9a-f]{5}(?:\t|$))", re.MULTILINE)
_OPENERS: dict[str, Callable[..., Any]] = {
    "plain": Path.open,
    "gzip": partial(gzip.open, compresslevel=6),  # the default of gzip itself
}
_MAX_REPETITIONS = 1 << 12  # three hexadecimal digits


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """The cost of one preparation in its own process."""

    rows: int
    cpu_s: float
    wall_s: float
    idle_bytes: int
    peak_bytes: int

    def cells(self) -> tuple[str, ...]:
        """Return rows, rows/s by CPU time, rows/s by wall time, idle MiB and peak MiB."""
        speeds = (self.rows / self.cpu_s, self.rows / self.wall_s)
        memory = (self.idle_bytes >> 20, self.peak_bytes >> 20)
        return tuple(f"{number:,.0f}" for number in (self.rows, *speeds, *memory))


def prepare(
    source: Annotated[list[Path], Option(help="Criteo files, or a directory of them.")],
    rows: Annotated[int, Option(min=1, help="Rows of the smaller log.")] = 1_000_000,
    distinct: Annotated[
        bool, Option("--distinct", help="Give each repetition its own categories.")
    ] = False,
) -> None:
    """Print rows per second and core and the peak memory of preparing Criteo's logs."""
    sample = b"".join(_read(one.path) for one in find_sources(Paths(train=source), PATTERNS))
    table = Table(title="Criteo's logs: rows per second of one core, and of wall time")
    for column in ("file", "encoding", "rows", "per core", "rows/s", "idle MiB", "peak MiB"):
        table.add_column(column, no_wrap=True)
    with tempfile.TemporaryDirectory() as scratch:
        for name, opener in _OPENERS.items():
            for times in (1, 4):
                path = Path(scratch) / f"{name}{times}"
                with opener(path, "wb") as file:
                    _repeat(sample, times * rows, file, distinct=distinct)
                for encoding in _ENCODINGS:
                    table.add_row(name, encoding, *measure(path, encoding).cells())
                path.unlink()
    Console().print(table)


def measure(path: Path, encoding: str) -> Measurement:
    """Prepare a file in a new process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_prepare_here, path, encoding).result()


def _prepare_here(path: Path, encoding: str) -> Measurement:
    idle = resource.getrusage(resource.RUSAGE_SELF)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        encodings = Encodings(default=encoding)
        log = prepare_log(Criteo((Source(path=path),)), Path(scratch, "log"), encodings=encodings)
        wall_s = time.perf_counter() - start
        used = resource.getrusage(resource.RUSAGE_SELF)
        return Measurement(
            rows=len(log),
            cpu_s=used.ru_utime + used.ru_stime - idle.ru_utime - idle.ru_stime,
            wall_s=wall_s,
            idle_bytes=idle.ru_maxrss * 1024,
            peak_bytes=used.ru_maxrss * 1024,
        )


def _read(path: Path) -> bytes:
    content = path.read_bytes()
    return gzip.decompress(content) if path.suffix == ".gz" else content


def _repeat(sample: bytes, rows: int, file: IO[bytes], *, distinct: bool) -> None:
    """Write the sample until there are at least ``rows`` rows."""
    repetitions = -(-rows // sample.count(b"\n"))
    if distinct and repetitions > _MAX_REPETITIONS:
        limit = f"expected at most {_MAX_REPETITIONS}"
        raise ConfigError(f"--distinct: found {repetitions} repetitions, {limit}")
    for repetition in range(repetitions):
        prefix = b"\t%03x" % repetition
        file.write(_CATEGORY.sub(prefix, sample) if distinct else sample)
