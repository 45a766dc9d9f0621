"""Processes that leave their names in files, so that a test finds them and nobody else."""

from __future__ import annotations

import os
from pathlib import Path

from distrib.scheduling.processes import ProcessName, name_of, own_name


def sign(marker: Path) -> bool:
    """Leave this process's name in a file, whole, unless there is one; tell whether it was left."""
    own = own_name()
    part = marker.with_name(f"{marker.name}.{own.pid}")
    part.write_text(f"{own.pid} {own.started}")
    try:
        os.link(part, marker)
    except FileExistsError:
        return False
    finally:
        part.unlink()
    return True


def signed_by(marker: Path) -> ProcessName:
    """Return who signed."""
    pid, started = map(int, marker.read_text().split())
    return ProcessName(pid=pid, started=started)


def file_of(process: ProcessName, place: Path) -> Path:
    """Return a process's own file in a folder."""
    return place / f"{process.pid}-{process.started}"


def living(place: Path) -> list[ProcessName]:
    """Return those of the processes with a file in a folder that live, by number."""
    names = [map(int, path.name.split("-")) for path in place.iterdir()]
    found = [ProcessName(pid=pid, started=started) for pid, started in names]
    return sorted(filter(lives, found), key=lambda each: each.pid)


def lives(process: ProcessName) -> bool:
    """Tell whether a process can do anything any more: what has ended may not be buried yet."""
    if name_of(process.pid) != process:
        return False
    try:
        stat = Path(f"/proc/{process.pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"
