"""Ownership of a folder: a run that writes to it keeps a file there and renews it.

Clocks of machines need not agree: another run watches whether the file is renewed.
"""

from __future__ import annotations

import json
import logging
import math
import platform
import threading
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from distrib.scheduling.processes import ProcessName, name_of, own_name
from distrib.trials.folder import Folder
from distrib.trials.json_values import from_json
from recsys.errors import DataError
from recsys.files import expecting, parse_json

HEARTBEAT_S = 2.0
PATIENCE_S = 15.0
"""An owner that is silent for so long is taken for dead"""
_TRIES = 3
_FILE = "owner.json"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Owner:
    """The content of the file."""

    run: str
    host: str
    machine: str
    """Tells apart what has process numbers of its own: machines, their starts, containers"""
    pid: int
    started: int
    """With the number, the process"""
    beats: int = 0

    @property
    def has_exited(self) -> bool:
        """Whether it is known to have exited; unknown for other machines."""
        process = ProcessName(pid=self.pid, started=self.started)
        return self.machine == _machine() and name_of(self.pid) != process

    def __str__(self) -> str:
        return f"run {self.run} (process {self.pid} on {self.host})"


class Ownership:
    """One run's right to write to a folder, from ``claim`` to ``release``."""

    def __init__(
        self,
        folder: Folder,
        run: str,
        *,
        heartbeat_s: float = HEARTBEAT_S,
        patience_s: float = PATIENCE_S,
    ) -> None:
        process = own_name()
        self._folder = folder
        self._me = Owner(
            run=run,
            host=platform.node(),
            machine=_machine(),
            pid=process.pid,
            started=process.started,
        )
        self._heartbeat_s = heartbeat_s
        self._patience_s = patience_s
        self._is_over = threading.Event()
        self._renewing = threading.Thread(
            target=self._renew_until_released, name="ownership", daemon=True
        )

    def claim(self) -> None:
        """Claim the folder; a dead owner is replaced.

        If several runs find it free at once, the last writer owns it: each checks again after a
        delay that is long compared with the time between checking and writing.

        Raises:
            DataError: another run owns it.
        """
        found = self._read()
        if found is not None:
            if self._is_renewed(found):
                raise DataError(
                    f"{self._folder}: found {found} writing its snapshots there, "
                    "expected one run per folder"
                )
            _log.warning("%s: taking over from %s, which has exited", self._folder, found)
        self._write()
        time.sleep(self._heartbeat_s / 4)
        now = self._read()
        if now is None or now.run != self._me.run:
            raise DataError(
                f"{self._folder}: found {now or 'another run'} claiming it at the same moment, "
                "expected one run per folder"
            )
        self._renewing.start()

    def check(self) -> None:
        """Check that the folder is still owned.

        Raises:
            DataError: another run took it over.
        """
        found = self._read()
        if found is not None and found.run != self._me.run:
            raise DataError(
                f"{self._folder}: found that {found} took it over from run {self._me.run}, "
                "expected one run per folder"
            )

    def release(self) -> None:
        """Release the folder, unless another run owns it by now."""
        self._is_over.set()
        if self._renewing.is_alive():
            self._renewing.join()
        found = self._read()
        if found is not None and found.run == self._me.run:
            self._folder.delete(_FILE)

    def _is_renewed(self, found: Owner) -> bool:
        """Return whether the owner renews its file.

        Reads are counted instead of seconds: if this host was paused, so was an owner on it.
        """
        pause_s = min(self._heartbeat_s, self._patience_s) / 4
        for _ in range(math.ceil(self._patience_s / pause_s)):
            if found.has_exited:
                return False
            time.sleep(pause_s)
            again = self._read()
            if again != found:
                return again is not None  # none: it has let go
        return False

    def _renew_until_released(self) -> None:
        while not self._is_over.wait(self._heartbeat_s):
            try:
                found = self._read()
                if found is not None and found.run != self._me.run:
                    return  # ``check`` tells it
                self._me = replace(self._me, beats=self._me.beats + 1)
                self._write()
            except (OSError, ValueError, DataError):  # pyarrow's are the first two
                continue  # whoever writes a snapshot learns it; a missed beat is no harm

    def _read(self) -> Owner | None:
        """Read with retries; a store may return nothing during a renewal."""
        for _ in range(_TRIES - 1):
            try:
                return self._read_once()
            except (OSError, DataError):
                time.sleep(self._heartbeat_s / 10)
        return self._read_once()

    def _read_once(self) -> Owner | None:
        try:
            content = self._folder.read(_FILE)
        except FileNotFoundError:
            return None
        file = f"{self._folder}/{_FILE}"
        with expecting("an owner's; delete it if no run uses the folder", file):
            return from_json(Owner, parse_json(content, file))

    def _write(self) -> None:
        self._folder.write(_FILE, json.dumps(asdict(self._me), indent=2).encode())


def _machine() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{platform.node()} {boot} {Path('/proc/self/ns/pid').readlink()}"
