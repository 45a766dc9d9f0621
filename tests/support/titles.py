"""Processes on this machine by the titles that Ray gives them."""

from __future__ import annotations

from pathlib import Path


def processes_titled(title: str) -> list[int]:
    """Return the processes with a title, without what they have forked and not yet started."""
    parents: dict[int, int] = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            found = (process / "cmdline").read_bytes().decode()
            stat = (process / "stat").read_text()
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            continue
        if title in found:
            parents[int(process.name)] = int(stat.rpartition(")")[2].split()[1])
    return [pid for pid, parent in parents.items() if parent not in parents]
