"""Names that nobody may have inside a folder."""

from __future__ import annotations

OUTSIDE = (
    "",
    ".",
    "..",
    "/etc/passwd",
    "../up",
    "trials/../../up",
    "trials/./here",
    "trials//twice",
    "trials/",
    "a\\b",
    "..\\up",
    "a\x00b",
    "a\nb",
    "a\x1b[2Jb",
    "a\u202eb",
    "a\udcffb",
)
