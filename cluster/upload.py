"""What ``soloist submit`` uploads of a working directory, by Ray's rules."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from recsys.errors import ConfigError

NOT_UPLOADED = ["/data/", "/results/", ".git/", ".venv/"]
_LARGEST = 3
"""How many files a message names"""

_Rule = tuple[str, Callable[[Path], bool]]
"""What leaves files out, and whether it leaves out a path"""


def check_upload(directory: Path, arguments: Sequence[str]) -> None:
    """Raise if a working directory is too large, or excludes a file that the arguments name.

    Raises:
        ConfigError: names what excludes the file, or the largest files.
    """
    from ray._private.ray_constants import DASHBOARD_CLIENT_MAX_SIZE

    root = directory.absolute()
    found = files(root)
    for word in arguments:
        for name in {word, word.partition("=")[2]}:  # FIELD=VALUE and --option=VALUE too
            named = Path(os.path.normpath(root / name))
            if ("/" in name or "." in name) and not Path(name).is_absolute() and named.exists():
                _refuse_left_out(name, named, found)
    sizes = {path: path.stat().st_size for path, left_out_by in found.items() if not left_out_by}
    total = sum(sizes.values())
    if total > DASHBOARD_CLIENT_MAX_SIZE:
        largest = sorted(sizes, key=lambda path: -sizes[path])[:_LARGEST]
        shown = ", ".join(f"{each.relative_to(root)} ({_mb(sizes[each])})" for each in largest)
        raise ConfigError(
            f"--working-dir {directory}: found {_mb(total)}, expected at most "
            f"{_mb(DASHBOARD_CLIENT_MAX_SIZE)}, Ray's limit; the largest files are {shown}; "
            "exclude unneeded files in .rayignore"
        )


def files(root: Path) -> dict[Path, str]:
    """Yield files with the rule that excludes them, empty for uploaded ones.

    A directory may represent all its content.
    """
    from ray._private.runtime_env.packaging import _get_excludes

    return dict(_files(root, root, [("soloist submit", _get_excludes(root, NOT_UPLOADED))]))


def _refuse_left_out(name: str, named: Path, found: dict[Path, str]) -> None:
    """Raise for an excluded file, or a directory of which nothing is uploaded."""
    related = {
        found[path] for path in found if path.is_relative_to(named) or named.is_relative_to(path)
    }
    if related and "" not in related:
        raise ConfigError(
            f"{name}: is not uploaded because of {min(related)}; expected an uploaded file, or "
            "an absolute path that all nodes reach"
        )


def _files(root: Path, path: Path, rules: Sequence[_Rule]) -> Iterator[tuple[Path, str]]:
    from ray._private.runtime_env.packaging import _get_ignore_file

    ignored = os.environ.get("RAY_RUNTIME_ENV_IGNORE_GITIGNORE") == "1"
    for name in (".rayignore",) if ignored else (".gitignore", ".rayignore"):
        if path.is_dir() and (leaves_out := _get_ignore_file(path, name)):
            rules = [*rules, (str((path / name).relative_to(root)), leaves_out)]
    left_out_by = next((name for name, leaves_out in rules if leaves_out(path)), "")
    if left_out_by or path.is_file():
        yield path, left_out_by
    elif path.is_dir():
        for each in path.iterdir():
            yield from _files(root, each, rules)


def _mb(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"
