"""The status of a run as plain values, readable without Ray."""

from __future__ import annotations

from dataclasses import dataclass

#: The file that a failed trial leaves in its directory: the reason in one line, the traceback.
ERROR = "error.txt"


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """A group of trials that was handed to Ray and has not ended: it waits, or it trains.

    ``trials`` are their digests; ``examples_done`` of ``examples`` were trained on, all replicas
    and phases together.
    """

    title: str
    trials: tuple[str, ...]
    examples_done: int
    examples: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """How far a run is. Work is counted in examples through one tower."""

    trials_done: int
    trials_failed: int
    trials: int
    examples_done: int
    work_done: float
    work: int
    running: tuple[Running, ...] = ()
