"""The status of a run as plain values, without Ray."""

from __future__ import annotations

from dataclasses import dataclass

#: The file that a failed trial leaves in its directory: the reason in one line, the traceback.
ERROR = "error.txt"


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """A submitted group of trials that has not ended: pending or training.

    ``trials`` are their digests; ``examples_done`` of ``examples`` are trained, over all replicas
    and phases.
    """

    title: str
    trials: tuple[str, ...]
    examples_done: int
    examples: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """Progress of a run. Work is counted in examples through one tower."""

    trials_done: int
    trials_failed: int
    trials: int
    examples_done: int
    work_done: float
    work: int
    running: tuple[Running, ...] = ()
