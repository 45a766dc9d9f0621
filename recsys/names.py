"""What a name inside a folder may be, whoever chose it: a bucket, an archive, a result file."""

from __future__ import annotations


def is_inner(name: str) -> bool:
    """Tell whether a relative path stays inside any folder that it is joined to.

    It has no empty part, no ``.`` and no ``..``, hence is not absolute; no backslash; and no
    character that a terminal would obey instead of printing it.
    """
    parts = name.split("/")
    return name.isprintable() and "\\" not in name and not {"", ".", ".."} & set(parts)
