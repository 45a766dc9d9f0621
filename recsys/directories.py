"""Directories that are made or replaced where links, mount points or other users may be."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from recsys.errors import ConfigError, DataError


def replaceable(output: Path) -> Path:
    """Return the directory behind an output: itself, or what it links to, there yet or not.

    Raises:
        DataError: it is there and no rename can replace it; nothing has been done.
    """
    place = Path(os.path.realpath(output))
    try:
        reason = _irreplaceable(place) if place.is_dir() else ""
    except OSError as error:
        raise DataError(f"{output}: {error.strerror}") from None
    if reason:
        raise DataError(
            f"{output}: found {reason}, which cannot be replaced; "
            "expected a new directory, such as one inside it"
        )
    return place


def _irreplaceable(place: Path) -> str:
    """Return why no rename can replace a directory, which is empty if one can."""
    if Path.cwd().is_relative_to(place):
        return "the working directory, or one above it"
    if place.is_mount():
        return "a mount point"
    parent, owner = place.parent.stat(), place.stat().st_uid
    if parent.st_mode & stat.S_ISVTX and os.geteuid() not in {0, owner, parent.st_uid}:
        return "another user's directory"
    return ""


def make_private(directory: Path) -> None:
    """Have a directory that no other user can read, write or have put there.

    Raises:
        ConfigError: something else has its name.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ConfigError(
            f"{directory}: found a link, or what other users can reach, expected a directory of "
            "this user alone; remove it, or set TMPDIR"
        )


def remove(path: Path) -> None:
    """Remove a directory with all that is in it, a file, or a link but not what it leads to."""
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)
