"""Processes of this machine: identity, termination, available memory."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessName:
    """Identity of a process, distinct from later ones with the same pid."""

    pid: int
    started: int
    """Clock ticks from the machine's start to its own"""


def name_of(pid: int) -> ProcessName | None:
    """Return the identity of a pid's process, None if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field, in brackets, may hold anything; "starttime" is the 22nd.
    return ProcessName(pid=pid, started=int(stat.rpartition(")")[2].split()[19]))


def own_name() -> ProcessName:
    """Return the identity of this process."""
    found = name_of(os.getpid())
    assert found is not None
    return found


def end(process: ProcessName, patience_s: float) -> bool:
    """Kill a process, also a stopped one, and wait for its exit.

    Return False if it does not exit (it hangs in the kernel).
    """
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return True
    try:
        if name_of(process.pid) != process:
            return True  # the number is another's by now
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        return bool(poll.poll(1000 * patience_s))
    except ProcessLookupError:
        return True
    finally:
        os.close(handle)


def available_bytes(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the memory that can be allocated without an OOM kill.

    The minimum of the machine's available memory and the free memory of each control group of this
    process; reclaimable file cache counts as free.
    """
    return min([_of_machine(proc), *_below_limits(proc, cgroups)])


def _of_machine(proc: Path) -> int:
    fields = dict(line.split(":", 1) for line in (proc / "meminfo").read_text().splitlines())
    return 1024 * int(fields["MemAvailable"].split()[0])


def _below_limits(proc: Path, cgroups: Path) -> Iterator[int]:
    for line in (proc / "self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, names = cgroups, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            root = cgroups / "memory"
            names = (
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "total_inactive_file",
            )
        else:
            continue
        group = root / path.lstrip("/")
        for each in (group, *group.parents):
            if each.is_relative_to(root):
                yield from _left(each, *names)


def _left(group: Path, limit_name: str, usage_name: str, cache_name: str) -> Iterator[int]:
    """Yield the free memory of a control group with a limit (a container's root may lack files)."""
    limit, usage = group / limit_name, group / usage_name
    if not limit.exists() or not usage.exists() or limit.read_text().strip() == "max":
        return
    stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    used = int(usage.read_text()) - int(stat.get(cache_name, 0))
    yield max(int(limit.read_text()) - used, 0)
