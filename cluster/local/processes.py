"""Processes that share an environment variable (Linux)."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_POLL_S = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Process:
    """A process: pid, parent, command line, and initial environment."""

    pid: int
    parent: int
    command: str
    environment: dict[str, str]


def marked(variable: str, value: str) -> list[Process]:
    """Return the live processes whose environment has ``variable`` set to ``value``."""
    return [each for each in _processes() if each.environment.get(variable) == value]


def end_marked(variable: str, value: str, *, patience_s: float = 3.0) -> None:
    """Stop all marked processes: SIGTERM, then SIGKILL after a delay.

    Each is signalled by its pid, so other Ray clusters are not affected.
    """
    _signal(marked(variable, value), signal.SIGTERM)
    deadline = time.monotonic() + patience_s
    while left := marked(variable, value):
        if time.monotonic() > deadline:
            _signal(left, signal.SIGKILL)
        time.sleep(_POLL_S)


def _signal(processes: list[Process], number: signal.Signals) -> None:
    for process in processes:
        try:
            os.kill(process.pid, number)
        except ProcessLookupError:
            continue  # it ended by itself


def _processes() -> Iterator[Process]:
    for place in Path("/proc").glob("[0-9]*"):
        try:
            environment = (place / "environ").read_bytes().decode(errors="replace")
            command = (place / "cmdline").read_bytes().decode(errors="replace")
            stat = (place / "stat").read_text(errors="replace")
        except (OSError, ProcessLookupError):  # another user's, or one that has just ended
            continue
        state, parent = stat.rpartition(")")[2].split()[:2]
        if state == "Z":
            continue
        yield Process(
            pid=int(place.name),
            parent=int(parent),
            command=command.replace("\0", " ").strip(),
            environment=dict(line.split("=", 1) for line in environment.split("\0") if "=" in line),
        )
