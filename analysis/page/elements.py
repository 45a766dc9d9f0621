"""What the page is made of: sections of charts, tables and of what could not be made, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

#: A trace or a layout as Plotly takes it. A colour may be ``@NAME``, one of the theme's; a trace
#: whose ``meta`` is the name of an arm is drawn where that arm is chosen.
Spec = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Numbers:
    """A plain table; the first cell of a row is its heading."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """A picture for the eye and, for whoever cannot see or point, its numbers.

    ``identifier`` is unique in the page; ``text`` says what is drawn and how to read it.
    """

    identifier: str
    title: str
    text: str
    traces: tuple[Spec, ...]
    layout: Spec
    numbers: Numbers

    @property
    def has_lines_of_arms(self) -> bool:
        """Whether a reader chooses which of its traces are drawn."""
        return any("meta" in trace for trace in self.traces)


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """A table that stands for itself."""

    title: str
    text: str
    numbers: Numbers


@dataclass(frozen=True, kw_only=True, slots=True)
class Absent:
    """What the results do not suffice for, and why."""

    title: str
    reason: str


Part = Chart | Listing | Absent


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A part of the page with a heading of its own."""

    identifier: str
    title: str
    parts: tuple[Part, ...]
