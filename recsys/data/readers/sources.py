"""Which files a person means by a path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recsys.data.readers.reader import Source
from recsys.errors import ConfigError, DataError


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


def _expand(path: Path, patterns: Sequence[Pattern], split: str | None) -> list[Source]:
    if not path.exists():
        raise DataError(f"{path}: there is no such file or directory")
    if not path.is_dir() or not patterns:
        return [Source(path=path, split=split)]
    found = [
        Source(path=file, split=split or pattern.split)
        for pattern in patterns
        for file in sorted(path.glob(pattern.glob))
        if file.is_file()
    ]
    if not found:
        globs = ", ".join(pattern.glob for pattern in patterns)
        raise DataError(f"{path}: has no file named like {globs}")
    return found
