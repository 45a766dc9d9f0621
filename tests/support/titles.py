"""Processes of this test's own Ray by the titles that Ray gives them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def processes_titled(title: str) -> list[int]:
    """Return the processes with a title that a raylet of this process started.

    Another test, beside this one, has a Ray of its own; and what a titled process has forked and
    not yet started, which has the title too, is no raylet's child.
    """
    seen = list(_processes())
    raylets = {
        pid
        for pid, parent, command in seen
        if parent == os.getpid() and Path(command.partition("\0")[0]).name == "raylet"
    }
    return [pid for pid, parent, command in seen if parent in raylets and title in command]


def _processes() -> Iterator[tuple[int, int, str]]:
    """Yield number, parent and command line of every living process."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().decode(errors="replace")
            stat = (process / "stat").read_text(errors="replace")
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            continue
        yield int(process.name), int(stat.rpartition(")")[2].split()[1]), command
