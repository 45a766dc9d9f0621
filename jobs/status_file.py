"""``status.json``: what the driver of a running sweep tells to whoever reads its directory."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from analysis.files import read_json
from analysis.writing import write_whole
from distrib.folder import Folder
from distrib.status import Status

STATUS = "status.json"
_EVERY_S = 1.0
#: An object store asks money for each time that it is told or asked.
ELSEWHERE_EVERY_S = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """A status, when its run began and when it was told: seconds of the Unix epoch."""

    began_s: float
    told_s: float
    status: Status

    @property
    def elapsed_s(self) -> float:
        return self.told_s - self.began_s


class StatusFile:
    """Keeps ``status.json`` up to date within the block; it is gone when the run is over.

    A driver that dies leaves the file behind: its age tells. ``elsewhere`` is told too, less often.
    Where either cannot be, as on a full disk, nothing else is stopped for it.
    """

    def __init__(self, directory: Path, elsewhere: Folder | None = None) -> None:
        self._path = directory / STATUS
        self._elsewhere = elsewhere
        self._began_s = time.time()
        self._next_s = 0.0
        self._next_elsewhere_s = 0.0

    def __enter__(self) -> StatusFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(OSError):
            self._path.unlink()
        if self._elsewhere is not None:
            with suppress(OSError):
                self._elsewhere.delete(STATUS)

    def __call__(self, status: Status) -> None:
        """Write a status, at most once a second."""
        now = time.time()
        if now < self._next_s:
            return
        self._next_s = now + _EVERY_S
        told = Told(began_s=self._began_s, told_s=now, status=status)
        text = json.dumps(asdict(told)) + "\n"
        with suppress(OSError):
            write_whole(self._path, lambda file: file.write_text(text, encoding="utf-8"))
        if self._elsewhere is not None and now >= self._next_elsewhere_s:
            self._next_elsewhere_s = now + ELSEWHERE_EVERY_S
            with suppress(OSError):
                self._elsewhere.write(STATUS, text.encode())


def read_status(directory: Path) -> Told | None:
    """Return what the driver told last; None where none runs, and ended as it should.

    Raises:
        ResultsError: the file is damaged.
    """
    try:
        return read_json(directory / STATUS, Told)
    except FileNotFoundError:
        return None
