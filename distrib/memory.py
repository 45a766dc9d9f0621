"""How much memory a process may still take: of the machine, and of its control groups."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def available_bytes(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Return what can be taken without anything being killed for it.

    The least of what the machine has available and what is left below each limit of the control
    groups that this process is in; file cache that can be dropped counts as free.
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
    """Yield what is left in a group that has a limit (a container's root may lack its files)."""
    limit, usage = group / limit_name, group / usage_name
    if not limit.exists() or not usage.exists() or limit.read_text().strip() == "max":
        return
    stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    used = int(usage.read_text()) - int(stat.get(cache_name, 0))
    yield max(int(limit.read_text()) - used, 0)
