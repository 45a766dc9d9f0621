"""Workers in shared memory that are slow, or die in the middle of an update; who has a memory."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from distrib.async_engine.in_place_worker import InPlaceWorker
from distrib.in_place_trainer import Computed, InPlaceTrainer
from recsys.data.batch import Batch


def slow_worker(seconds: float, place: Path) -> type[InPlaceWorker]:
    """Return a worker each batch of which takes a while, so that there is time to be killed.

    It leaves its process number in ``place`` when it begins to work, as a file that it keeps
    locked from a batch's end of computing to the next one's beginning, thus in every update.
    """

    class Trainer(InPlaceTrainer):
        updating: TextIO

        def compute(self, batch: Batch, number: int) -> Computed:
            fcntl.flock(self.updating, fcntl.LOCK_UN)
            time.sleep(seconds)
            computed = super().compute(batch, number)
            fcntl.flock(self.updating, fcntl.LOCK_EX)
            return computed

    class Slow(InPlaceWorker):
        def make_trainer(self, *args: object) -> InPlaceTrainer:
            trainer = Trainer(*args, batch_count=self.stream.batch_count)  # type: ignore[arg-type]
            trainer.updating = (place / str(os.getpid())).open("w")
            return trainer

    return Slow


def hit_outside_updates(pid: int, place: Path, number: signal.Signals) -> None:
    """Send a slow worker a signal at a moment when it changes no parameter."""
    with (place / str(pid)).open() as updating:
        fcntl.flock(updating, fcntl.LOCK_EX)
        os.kill(pid, number)


def worker_that_dies_within_update(batch: int, marker: Path) -> type[InPlaceWorker]:
    """Return a worker that once, in a batch's update, dies between the tables' and the towers'."""

    class Trainer(InPlaceTrainer):
        def compute(self, examples: Batch, number: int) -> Computed:
            self._number = number
            return super().compute(examples, number)

        def apply(self, computed: Computed) -> None:
            if self._number == batch and not marker.exists():
                marker.touch()
                computed.pooled.backward(computed.gradient)
                os.kill(os.getpid(), signal.SIGKILL)
            super().apply(computed)

    class Dying(InPlaceWorker):
        def make_trainer(self, *args: object) -> InPlaceTrainer:
            return Trainer(*args, batch_count=self.stream.batch_count)  # type: ignore[arg-type]

    return Dying


def wait_until(condition: Callable[[], bool], seconds: float = 240) -> None:
    """Wait for something that has to come."""
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def memory_of(pid: int) -> str:
    """Return the inode of the segment that a process made or attached."""
    for path in Path(f"/proc/{pid}/fd").iterdir():
        if path.readlink().name.startswith("#") and path.open("rb").read(7) == b"soloist":
            return path.readlink().name.split()[0]
    raise AssertionError(f"process {pid} has no segment")


def who_has(memory: str) -> list[int]:
    """Return the processes that have a segment open or mapped."""
    return [int(path.name) for path in _processes() if _has(path, memory)]


def _has(process: Path, memory: str) -> bool:
    try:
        links = [path.readlink().name for path in (process / "fd").iterdir()]
        maps = (process / "maps").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False  # it is gone by now, or another user's
    names = [*links, *(line.rpartition("/")[2] for line in maps)]
    return any(name.split()[:1] == [memory] for name in names)


def descendants(pid: int) -> list[int]:
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
    return found


def _processes() -> list[Path]:
    return [path for path in Path("/proc").iterdir() if path.name.isdigit()]
