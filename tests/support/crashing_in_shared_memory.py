"""Workers in shared memory that are slow, hang, or die within an update; who has a memory."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from distrib.engines.asynchronous.messages import Servers
from distrib.engines.asynchronous.shared_memory_worker import SharedMemoryLoop, SharedMemoryWorker
from distrib.parameter_store.shared_journal import Journal
from distrib.scheduling.processes import ProcessName, name_of, own_name
from distrib.training.step import Computed, SharedMemoryTrainer
from recsys.data.batch import Batch
from tests.support.patience import wait_until
from tests.support.signed import file_of, sign


class _Locking:
    """A journal that keeps a file locked from the beginning of an update to its end."""

    def __init__(self, journal: Journal, updating: TextIO) -> None:
        self._journal = journal
        self._updating = updating

    def begin(self, *args: Any) -> None:
        fcntl.flock(self._updating, fcntl.LOCK_EX)
        self._journal.begin(*args)

    def end(self, *args: Any) -> None:
        self._journal.end(*args)
        fcntl.flock(self._updating, fcntl.LOCK_UN)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)


def slow_worker(seconds: float, place: Path) -> type[SharedMemoryWorker]:
    """Return a worker each batch of which takes a while, so that there is time to be killed.

    It leaves a file of its own in ``place`` when it begins to work, locked in every update.
    """

    class Trainer(SharedMemoryTrainer):
        def compute(self, batch: Batch, number: int) -> Computed:
            time.sleep(seconds)
            return super().compute(batch, number)

    class Slow(SharedMemoryWorker):
        def loop(self, phase: int, servers: Servers) -> SharedMemoryLoop:
            loop = super().loop(phase, servers)
            updating = file_of(own_name(), place).open("w")
            loop._journal = _Locking(loop._journal, updating)  # type: ignore[assignment]
            return loop

        def make_trainer(self, *args: object) -> SharedMemoryTrainer:
            return Trainer(*args, batch_count=self.stream.batch_count)  # type: ignore[arg-type]

    return Slow


def kill_outside_updates(worker: ProcessName, place: Path) -> None:
    """Kill a slow worker at a moment when it changes no parameter."""
    with file_of(worker, place).open() as updating:
        fcntl.flock(updating, fcntl.LOCK_EX)
        os.kill(worker.pid, signal.SIGKILL)


def worker_that_dies_within_update(batch: int, marker: Path) -> type[SharedMemoryWorker]:
    """Return a worker that once, in a batch's update, dies between the tables' and the towers'."""

    class Trainer(SharedMemoryTrainer):
        def compute(self, examples: Batch, number: int) -> Computed:
            self._number = number
            return super().compute(examples, number)

        def apply(self, computed: Computed) -> None:
            if self._number == batch and sign(marker):
                computed.pooled.backward(computed.gradient)
                os.kill(os.getpid(), signal.SIGKILL)
            super().apply(computed)

    class Dying(SharedMemoryWorker):
        def make_trainer(self, *args: object) -> SharedMemoryTrainer:
            return Trainer(*args, batch_count=self.stream.batch_count)  # type: ignore[arg-type]

    return Dying


def worker_that_hangs(batch: int, marker: Path) -> type[SharedMemoryWorker]:
    """Return a worker that signs and hangs, once, before a batch's update."""

    class Trainer(SharedMemoryTrainer):
        def compute(self, examples: Batch, number: int) -> Computed:
            if number == batch and sign(marker):
                os.kill(os.getpid(), signal.SIGSTOP)
            return super().compute(examples, number)

    class Hanging(SharedMemoryWorker):
        def make_trainer(self, *args: object) -> SharedMemoryTrainer:
            return Trainer(*args, batch_count=self.stream.batch_count)  # type: ignore[arg-type]

    return Hanging


def workers_that_meet(place: Path) -> type[SharedMemoryWorker]:
    """Return a worker that, within the first batch, waits for a whole update of another."""
    waits, updated = place / "waits", place / "updated"

    class Trainer(SharedMemoryTrainer):
        _updates_beside = False

        def compute(self, batch: Batch, number: int) -> Computed:
            if number == 0:
                waits.touch()
                wait_until(updated.exists)
            elif self._updates_beside:  # the update of the batch before is over
                updated.touch()
            else:
                self._updates_beside = waits.exists()
            return super().compute(batch, number)

    class Meeting(SharedMemoryWorker):
        def make_trainer(self, *args: object) -> SharedMemoryTrainer:
            return Trainer(*args, batch_count=self.stream.batch_count)  # type: ignore[arg-type]

    return Meeting


def memory_of(pid: int) -> str:
    """Return the inode of the segment that a process made or attached."""
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # it was closed since
            name = path.readlink().name
            if name.startswith("#") and path.open("rb").read(7) == b"soloist":
                return name.split()[0]
    raise AssertionError(f"process {pid} has no segment")


def who_has(memory: str) -> list[int]:
    """Return the processes that have a segment open or mapped."""
    return [int(path.name) for path in _processes() if memory in _names(path)]


def _names(process: Path) -> set[str]:
    """Return the names of the files that a process has open or mapped, as far as it lives."""
    names = []
    with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
        names += [line.rpartition("/")[2] for line in (process / "maps").read_text().splitlines()]
        for path in (process / "fd").iterdir():
            with suppress(FileNotFoundError):  # it was closed since
                names.append(path.readlink().name)
    return {name.split()[0] for name in names if name.strip()}


def descendants(pid: int) -> list[ProcessName]:
    """Return a process and all that it started, and those that they started."""
    parents: dict[int, list[int]] = {}
    for path in _processes():
        with suppress(FileNotFoundError, ProcessLookupError):
            stat = (path / "stat").read_text()
            parent = int(stat.rpartition(")")[2].split()[1])
            parents.setdefault(parent, []).append(int(path.name))
    found = [pid]
    for each in found:
        found += parents.get(each, [])
    return [name for name in map(name_of, found) if name is not None]


def _processes() -> list[Path]:
    return [path for path in Path("/proc").iterdir() if path.name.isdigit()]
