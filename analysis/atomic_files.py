"""Atomic writing of files and directories."""

from __future__ import annotations

import errno
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def write_whole(path: Path, write: Callable[[Path], object]) -> Path:
    """Write a file atomically: ``write`` fills a temporary file, which is then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{uuid.uuid4().hex[:8]}.{path.name}")
    try:
        write(unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path


@contextmanager
def whole_directory(place: Path) -> Iterator[Path]:
    """Provide a new directory inside the block that replaces ``place`` at the end.

    Existing files that were not written anew are kept. If ``place`` is a link, its target is
    replaced. If the block raises, nothing changes.
    """
    place = place.resolve()
    if place.exists() and not place.is_dir():
        raise FileExistsError(errno.EEXIST, "found a file, expected a directory", str(place))
    place.parent.mkdir(parents=True, exist_ok=True)
    unfinished = place.with_name(f".{place.name}.{uuid.uuid4().hex[:8]}")
    replaced = unfinished.with_name(f"{unfinished.name}.replaced")
    unfinished.mkdir()
    try:
        yield unfinished
        if place.exists():
            shutil.copymode(place, unfinished)
            place.rename(replaced)
        try:
            unfinished.rename(place)
        except OSError:
            replaced.rename(place)
            raise
        for path in replaced.glob("*"):
            if not (place / path.name).exists():
                path.rename(place / path.name)
        shutil.rmtree(replaced, ignore_errors=True)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
