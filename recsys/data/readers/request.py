"""What a person asks of a reader."""

from __future__ import annotations

from dataclasses import dataclass

from recsys.data.readers.reader import Source
from recsys.data.readers.table_schema import TableSchema


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """The sources, and the options of single readers: None where it is left to the reader."""

    sources: tuple[Source, ...] = ()
    threshold: float | None = None
    schema: TableSchema | None = None
    rows: int | None = None
    seed: int | None = None
