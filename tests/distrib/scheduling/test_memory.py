"""What memory there is: the least of the machine's and of all limits of control groups."""

from __future__ import annotations

from pathlib import Path

import pytest

from distrib.scheduling.processes import available_bytes

GB = 1 << 30


@pytest.fixture
def machine(tmp_path) -> tuple[Path, Path]:
    """Return ``/proc`` and ``/sys/fs/cgroup`` of a machine with 10 GB available."""
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    cgroups.mkdir()
    (proc / "meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable: {10 * GB // 1024} kB\n")
    return proc, cgroups


def version_2(group: Path, limit: str, used: int, cache: int = 0) -> None:
    group.mkdir(parents=True, exist_ok=True)
    (group / "memory.max").write_text(f"{limit}\n")
    (group / "memory.current").write_text(f"{used}\n")
    (group / "memory.stat").write_text(f"anon 1\ninactive_file {cache}\n")


def test_without_limits_it_is_what_the_machine_has(machine) -> None:
    proc, cgroups = machine
    (proc / "self/cgroup").write_text("0::/\n")

    assert available_bytes(proc, cgroups) == 10 * GB


def test_the_tightest_group_above_counts_and_cache_is_free(machine) -> None:
    proc, cgroups = machine
    (proc / "self/cgroup").write_text("0::/pod/container\n")
    version_2(cgroups / "pod", str(6 * GB), used=4 * GB, cache=GB)
    version_2(cgroups / "pod/container", "max", used=GB)

    assert available_bytes(proc, cgroups) == 3 * GB


def test_a_group_beyond_its_limit_has_nothing_left(machine) -> None:
    proc, cgroups = machine
    (proc / "self/cgroup").write_text("0::/\n")
    version_2(cgroups, str(GB), used=2 * GB)

    assert available_bytes(proc, cgroups) == 0


def test_groups_of_the_first_version_count_too(machine) -> None:
    proc, cgroups = machine
    (proc / "self/cgroup").write_text("5:cpu,cpuacct:/x\n4:memory:/x\n0::/\n")
    group = cgroups / "memory/x"
    group.mkdir(parents=True)
    (group / "memory.limit_in_bytes").write_text(f"{4 * GB}\n")
    (group / "memory.usage_in_bytes").write_text(f"{3 * GB}\n")
    (group / "memory.stat").write_text(f"total_inactive_file {GB}\n")

    assert available_bytes(proc, cgroups) == 2 * GB


def test_this_machine_has_some() -> None:
    assert 0 < available_bytes() < 1 << 50
