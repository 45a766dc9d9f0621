"""Rule for names inside a folder that come from a bucket, an archive or a result file."""

from __future__ import annotations


def is_inner(name: str) -> bool:
    """Return whether a path is relative and stays inside any folder it is joined to.

    It has no empty part, ``.``, ``..``, backslash or control character.
    """
    parts = name.split("/")
    return name.isprintable() and "\\" not in name and not {"", ".", ".."} & set(parts)
