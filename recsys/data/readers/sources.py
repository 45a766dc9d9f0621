"""Which files a path stands for: a file, or the parts of a directory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote

from recsys.data.readers.reader import Source
from recsys.errors import ConfigError, DataError

COMPRESSED = ("", ".gz", ".zst")
"""What the names of text files may end in"""
_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"

Item = TypeVar("Item")


class NoRowsError(DataError):
    """A file without rows, which is fine for one part of a directory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pattern:
    """Files that a reader looks for in a directory (a glob), and the split that they are."""

    glob: str
    split: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Paths:
    """What a person named: with ``valid`` or ``test`` paths, ``train`` is for training alone."""

    train: Sequence[Path] = ()
    valid: Sequence[Path] = ()
    test: Sequence[Path] = ()

    def __bool__(self) -> bool:
        return bool(self.train or self.valid or self.test)


def find_sources(paths: Paths, patterns: Sequence[Pattern]) -> tuple[Source, ...]:
    """Return the sources behind paths; a directory stands for its files that match a pattern.

    Without patterns a directory is a source itself. Raises DataError for a path that is not there
    or a directory without such files, and ConfigError where some sources say which split they are
    and some do not.
    """
    train = "train" if paths.valid or paths.test else None
    found = [
        source
        for split, group in ((train, paths.train), ("valid", paths.valid), ("test", paths.test))
        for path in group
        for source in _expand(path, patterns, split)
    ]
    unnamed = [source for source in found if source.split is None]
    if unnamed and len(unnamed) < len(found):
        raise ConfigError(f"{unnamed[0].path}: which split is it? Others say theirs")
    return tuple(found)


def read_each(
    sources: Sequence[Source], read: Callable[[Source], Iterable[Item]]
) -> Iterator[tuple[Source, Item]]:
    """Yield what ``read`` yields of each source; parts without rows are skipped, unless all are."""
    empty, found = None, False
    for source in sources:
        try:
            for item in read(source):
                found = True
                yield source, item
        except NoRowsError as error:
            if not source.part:
                raise
            empty = error
    if empty and not found:
        raise empty


def _expand(path: Path, patterns: Sequence[Pattern], split: str | None) -> list[Source]:
    try:
        path.stat()
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file or directory") from None
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    if not path.is_dir() or not patterns:
        return [Source(path=path, split=split)]
    found = [
        Source(
            path=file,
            split=split or pattern.split,
            part=True,
            partition=_partition(file.relative_to(path)),
        )
        for pattern in patterns
        for file in sorted(path.glob(pattern.glob))
        if file.is_file() and not _is_hidden(file.relative_to(path))
    ]
    if not found:
        globs = ", ".join(pattern.glob.removeprefix("**/") for pattern in patterns)
        raise DataError(f"{path}: has no file named like {globs}")
    files = {source.path for source in found}
    for file in files:
        if file.suffix in COMPRESSED and (plain := file.with_suffix("")) in files:
            raise DataError(f"{file}: {plain.name} is there too, expected one of them")
    return found


def _is_hidden(file: Path) -> bool:
    """Tell whether Spark and Hive would skip a file, such as those in ``_temporary``."""
    return any(name.startswith((".", "_")) for name in file.parts)


def _partition(file: Path) -> dict[str, str | None]:
    named = (folder.partition("=") for folder in file.parts[:-1] if "=" in folder)
    return {key: None if value == _HIVE_NULL else unquote(value) for key, _, value in named}
