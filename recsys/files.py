"""Files and directories that may be damaged, foreign, linked or owned by another user."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recsys.errors import ConfigError, DataError

_MAX_BYTES = 1 << 28
_STRUCTURAL = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ConfigError,
    DataError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""Exceptions of Python, NumPy, pyarrow and pydantic for malformed values"""


@contextmanager
def expecting(what: str, name: object, *more: type[Exception]) -> Iterator[None]:
    """Turn malformed content found inside the block into a DataError about the file ``name``.

    Args:
        what: the expected content.
        name: the file.
        more: further exceptions that mean malformed content.
    """
    faults: tuple[type[Exception], ...] = (*_STRUCTURAL, *more)
    try:
        yield
    except faults as error:
        reason = first_line(error)
        if not isinstance(error, ConfigError | DataError):
            reason = f"{type(error).__name__} {reason}"
        raise DataError(f"{name}: not {what} ({reason})") from None


def read_json(path: Path, *, hint: str = "") -> dict[str, Any]:
    """Return the JSON object in a file; ``hint`` ends the message if the file is missing.

    Raises:
        DataError: the file cannot be read, or is not a JSON object.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        reason = "not there" if isinstance(error, FileNotFoundError) else error.strerror
        raise DataError(f"{path}: {reason}{hint}") from None
    return parse_json(content, path)


def parse_json(content: bytes, name: object) -> dict[str, Any]:
    """Parse the content of a file called ``name``.

    Raises:
        DataError: it is not a JSON object, or is too large.
    """
    if len(content) > _MAX_BYTES:
        raise DataError(f"{name}: larger than {_MAX_BYTES} bytes")
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name}: not valid JSON ({first_line(error)})") from None
    if not isinstance(value, dict):
        raise DataError(f"{name}: found a {type(value).__name__}, expected a JSON object")
    return value


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, of at most 200 characters."""
    return next(iter(str(error).strip().splitlines()), "no message")[:200]


def sha256_of(path: Path) -> str:
    """Return the SHA-256 (hex) of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_sha256(path: Path, expected: object) -> None:
    """Raise DataError unless the file is readable and has the expected SHA-256."""
    try:
        found = sha256_of(path)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    if found != expected:
        raise DataError(f"{path}: checksum mismatch")


def replaceable(output: Path) -> Path:
    """Return an output directory with its links resolved; it need not exist.

    Raises:
        DataError: it exists and cannot be replaced by a rename.
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
    """Return why a rename cannot replace a directory; empty if it can."""
    if Path.cwd().is_relative_to(place):
        return "the working directory, or one above it"
    if place.is_mount():
        return "a mount point"
    parent, owner = place.parent.stat(), place.stat().st_uid
    if parent.st_mode & stat.S_ISVTX and os.geteuid() not in {0, owner, parent.st_uid}:
        return "another user's directory"
    return ""


def make_private(directory: Path) -> None:
    """Create a directory that only this user can access.

    Raises:
        ConfigError: the path exists and is not such a directory.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ConfigError(
            f"{directory}: found a link, or a directory that other users can access, expected "
            "a private directory; remove it, or set TMPDIR"
        )


def remove(path: Path) -> None:
    """Remove a file, a directory tree, or a link without its target."""
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)
