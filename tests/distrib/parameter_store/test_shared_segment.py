"""A segment: one memory for all who attach, nothing left behind, refused where it has no room."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from distrib.errors import TrialFailed
from distrib.parameter_store.shared_segment import SHARED_MEMORY, Field, Plan, Segment
from recsys.errors import ConfigError
from tests.support.crashing_in_shared_memory import memory_of, who_has
from tests.support.patience import wait_until

PLAN = Plan(
    (
        Field(name="rows", dtype="<f4", shape=(5, 3)),
        Field(name="none", dtype="<f4", shape=(0,)),
        Field(name="words", dtype="<u8", shape=(7,)),
    )
)


def huge(size: int) -> Plan:
    return Plan((Field(name="all", dtype="<u1", shape=(size,)),))


def open_segments() -> list[str]:
    """Return the segments that this process has open, each as often as it does; others' threads
    open and close files of their own meanwhile."""
    found = []
    for path in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # it was closed since
            found.append(str(path.readlink()))
    return [each for each in found if each.startswith(f"{SHARED_MEMORY}/#")]


@pytest.fixture
def segment():
    made = Segment.create(PLAN, "run")
    yield made
    made.close()


def test_what_one_writes_the_other_reads(segment) -> None:
    other = Segment.attach(segment.address, PLAN)

    segment.array("rows")[:] = np.arange(15).reshape(5, 3)
    other.array("words")[6] = 2**63

    np.testing.assert_array_equal(other.array("rows"), np.arange(15).reshape(5, 3))
    assert segment.array("words").tolist() == [0] * 6 + [2**63]
    assert segment.array("none").size == 0


def test_arrays_begin_at_cache_lines(segment) -> None:
    addresses = [segment.array(field.name).ctypes.data for field in PLAN.fields]

    assert [address % 64 for address in addresses] == [0, 0, 0]


def test_it_has_no_name_in_any_directory(segment) -> None:
    where = Path(f"/proc/self/fd/{segment.address.fd}").readlink()

    assert os.fstat(segment.address.fd).st_nlink == 0
    assert where.parent == SHARED_MEMORY
    assert not where.exists()


def test_nobody_attaches_once_it_is_closed(segment) -> None:
    address = segment.address
    segment.close()

    with pytest.raises(TrialFailed, match="shared memory is not accessible"):
        Segment.attach(address, PLAN)


def test_what_was_attached_and_let_go_leaves_no_open_file(segment) -> None:
    own = str(Path(f"/proc/self/fd/{segment.address.fd}").readlink())
    before = open_segments().count(own)

    for _ in range(3):
        Segment.attach(segment.address, PLAN).array("words")[0] += 1

    assert segment.array("words")[0] == 3
    assert open_segments().count(own) == before > 0


def test_another_runs_segment_is_refused(segment) -> None:
    with pytest.raises(TrialFailed, match="expected the shared memory of run other"):
        Segment.attach(replace(segment.address, run="other"), PLAN)


def test_a_segment_of_another_plan_is_refused(segment) -> None:
    with pytest.raises(TrialFailed, match="with 2 arrays"):
        Segment.attach(segment.address, Plan(PLAN.fields[:2]))


def test_two_runs_in_one_place_have_memory_of_their_own(segment) -> None:
    other = Segment.create(PLAN, "other")

    segment.array("rows")[:] = 1

    assert not other.array("rows").any()


def test_more_than_the_memory_there_is_is_refused_before_anything_is_taken() -> None:
    before = set(open_segments())

    with pytest.raises(
        ConfigError, match=r"shared_memory needs 1.13e\+06 GB .* found .* available"
    ):
        Segment.create(huge(1 << 50), "run")

    assert set(open_segments()) <= before


def test_a_full_disk_is_refused_and_what_was_taken_is_given_back(tmp_path) -> None:
    before = set(open_segments())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))

    try:
        with pytest.raises(ConfigError, match=r"needs 0.0021 GB in /dev/shm, found .* free there"):
            Segment.create(huge(2 << 20), "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert set(open_segments()) <= before


_HOLDERS = """
import os, time
from distrib.parameter_store.shared_segment import Field, Plan, Segment
plan = Plan((Field(name="all", dtype="<u1", shape=(1 << 20,)),))
segment = Segment.create(plan, "run")
address = segment.address
child = os.fork()
if child:
    print(child, flush=True)
else:
    attached = Segment.attach(address, plan)
time.sleep(600)
"""


def test_nothing_is_left_when_all_who_have_it_are_killed() -> None:
    names = {path.name for path in SHARED_MEMORY.iterdir()}

    with subprocess.Popen([sys.executable, "-c", _HOLDERS], stdout=subprocess.PIPE) as process:
        try:
            child = int(process.stdout.readline())
            memory = memory_of(process.pid)
            wait_until(lambda: child in who_has(memory))
            holders = who_has(memory)
        finally:
            process.kill()
        os.kill(child, signal.SIGKILL)

    assert sorted(holders) == sorted([process.pid, child])
    wait_until(lambda: not who_has(memory))
    assert memory not in {path.name for path in SHARED_MEMORY.iterdir()} - names


def test_a_place_that_is_not_there_is_refused(tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere, found 0 GB free there \(No such file"):
        Segment.create(PLAN, "run", tmp_path / "nowhere")
