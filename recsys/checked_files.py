"""Files that someone else may have written or damaged: checksums, and one DataError a fault."""

from __future__ import annotations

import hashlib
import json
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
"""What Python, NumPy, pyarrow and pydantic raise over a value that is not what it should be"""


@contextmanager
def expecting(what: str, name: object, *more: type[Exception]) -> Iterator[None]:
    """Turn any structural fault within the block into one DataError about the file ``name``.

    Args:
        what: what the file should hold.
        name: of the file.
        more: exceptions of a library that the block calls.
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
    """Return the JSON object in a file.

    Args:
        path: of the file.
        hint: how to get such a file, for the message where it is missing.

    Raises:
        DataError: it cannot be read, or holds something else.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        reason = "not there" if isinstance(error, FileNotFoundError) else error.strerror
        raise DataError(f"{path}: {reason}{hint}") from None
    return parse_json(content, path)


def parse_json(content: bytes, name: object) -> dict[str, Any]:
    """Return the JSON object that was read from a file called ``name``.

    Raises:
        DataError: it is none, or larger than any that Soloist writes.
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
    """Refuse a file that was damaged since it was written.

    Raises:
        DataError: it cannot be read, or its checksum is another.
    """
    try:
        found = sha256_of(path)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    if found != expected:
        raise DataError(f"{path}: its content is not what was written (checksum)")
