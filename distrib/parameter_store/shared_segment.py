"""An anonymous shared-memory segment that holds arrays."""

from __future__ import annotations

import errno
import hashlib
import json
import mmap
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from distrib.errors import TrialFailed
from distrib.scheduling.processes import available_bytes
from recsys.errors import ConfigError

SHARED_MEMORY = Path("/dev/shm")
_ALIGNMENT = 64
"""Bytes of a cache line"""
_HEADER = 128
_MAGIC = b"soloist1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """One array of a segment."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """Size without padding."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, slots=True)
class Plan:
    """The arrays of a segment, in order, after a header."""

    fields: tuple[Field, ...]

    @property
    def size_bytes(self) -> int:
        return _HEADER + sum(_padded(field.size_bytes) for field in self.fields)

    @property
    def digest(self) -> bytes:
        """32 bytes that identify the plan."""
        described = json.dumps([asdict(field) for field in self.fields])
        return hashlib.sha256(described.encode()).digest()


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """Where other processes of this machine find a segment, and its run."""

    pid: int
    fd: int
    run: str


class Segment:
    """Zero-initialised arrays in shared memory.

    Use ``create`` or ``attach``. The memory stays mapped while an array of it is referenced.
    """

    def __init__(self, fd: int, plan: Plan, run: str) -> None:
        self._fd = fd
        self._run = run
        self.plan = plan
        memory = mmap.mmap(fd, plan.size_bytes)
        self._header = np.frombuffer(memory, np.uint8, _HEADER)
        self._arrays: dict[str, npt.NDArray[Any]] = {}
        start = _HEADER
        for field in plan.fields:
            count = int(np.prod(field.shape, dtype=np.int64))
            flat = np.frombuffer(memory, field.dtype, count, start)
            self._arrays[field.name] = flat.reshape(field.shape)
            start += _padded(field.size_bytes)

    @classmethod
    def create(cls, plan: Plan, run: str, directory: Path = SHARED_MEMORY) -> Segment:
        """Allocate all memory of a plan, so that it cannot run out later.

        Raises:
            ConfigError: memory, or space in ``directory``, is too small.
        """
        _refuse_without_memory(plan.size_bytes)
        fd = -1
        try:
            fd = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
            os.posix_fallocate(fd, 0, plan.size_bytes)
        except OSError as error:
            if fd >= 0:
                os.close(fd)
            raise _without_room(plan.size_bytes, directory, str(error.strerror)) from None
        segment = cls(fd, plan, run)
        segment._header[: len(_MAGIC + run.encode())] = bytearray(_MAGIC + run.encode())
        segment._header[-32:] = bytearray(plan.digest)
        return segment

    @classmethod
    def attach(cls, address: Address, plan: Plan) -> Segment:
        """Map the segment of another process, without copying.

        Raises:
            TrialFailed: it is missing, of another run, or of another plan.
        """
        where = f"/proc/{address.pid}/fd/{address.fd}"
        try:
            fd = os.open(where, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise TrialFailed(
                f"{where}: shared memory is not accessible ({error.strerror}); expected a "
                "worker on the driver's machine, in its container and with its user"
            ) from None
        header = os.pread(fd, _HEADER, 0)
        expected = _MAGIC + address.run.encode()
        if header[: len(expected)] != expected or header[-32:] != plan.digest:
            os.close(fd)
            raise TrialFailed(
                f"{where}: found {header[:24]!r}, expected the shared memory of run {address.run} "
                f"with {len(plan.fields)} arrays in {plan.size_bytes} bytes"
            )
        segment = cls(fd, plan, address.run)
        segment.close()  # the mapping has a descriptor of its own, which goes with it
        return segment

    @property
    def address(self) -> Address:
        """Where other processes find it while this one has it open."""
        return Address(pid=os.getpid(), fd=self._fd, run=self._run)

    def array(self, name: str) -> npt.NDArray[Any]:
        """Return an array on the shared memory."""
        return self._arrays[name]

    def close(self) -> None:
        """Prevent further attaching."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def refuse_without_room(size_bytes: int, directory: Path = SHARED_MEMORY) -> None:
    """Raise unless segments of ``size_bytes`` fit together, before any is allocated.

    Raises:
        ConfigError: memory, or space in ``directory``, is too small.
    """
    _refuse_without_memory(size_bytes)
    if size_bytes > _free_bytes(directory):
        raise _without_room(size_bytes, directory, os.strerror(errno.ENOSPC))


def _refuse_without_memory(size_bytes: int) -> None:
    free = available_bytes()
    if size_bytes > free:
        raise ConfigError(
            f"engine.store: shared_memory needs {_size(size_bytes)} for tables, optimiser "
            f"state and towers, found {_size(free)} of memory available; expected as much, "
            "or store: server, whose shards may be on several nodes"
        )


def _without_room(size_bytes: int, directory: Path, why: str) -> ConfigError:
    return ConfigError(
        f"engine.store: shared_memory needs {_size(size_bytes)} in {directory}, "
        f"found {_size(_free_bytes(directory))} free there ({why}); expected "
        "as much (of a container: a larger --shm-size), or store: server"
    )


def _padded(count: int) -> int:
    return -(-count // _ALIGNMENT) * _ALIGNMENT


def _free_bytes(directory: Path) -> int:
    try:
        found = os.statvfs(directory)
    except OSError:
        return 0
    return found.f_bavail * found.f_frsize


def _size(count: int) -> str:
    return f"{count / 1e9:,.3g} GB"
