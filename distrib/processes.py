"""Processes of this machine, and how to be sure that one has ended."""

from __future__ import annotations

import os
import select
import signal
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessName:
    """A process, told from a later one of the same number."""

    pid: int
    started: int
    """Clock ticks from the machine's start to its own"""


def name_of(pid: int) -> ProcessName | None:
    """Return the full name of the process that has a number now, None if none has."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field, in brackets, may hold anything; "starttime" is the 22nd.
    return ProcessName(pid=pid, started=int(stat.rpartition(")")[2].split()[19]))


def own_name() -> ProcessName:
    """Return the full name of this process."""
    found = name_of(os.getpid())
    assert found is not None
    return found


def end(process: ProcessName, patience_s: float) -> bool:
    """Kill a process, also one that is stopped, and wait until it can do nothing any more.

    Return False if it lives on: it hangs in the kernel.
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
