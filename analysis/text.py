"""Validation of arm and experiment names, and escaping of foreign text for each output format."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the edge of a command line need not load it
    import pandas as pd

#: A log that is no terminal has no width of its own; tables fit this one.
WIDTH = 120
LONGEST_NAME = 200
_ARM_NAME = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9_-]{{0,{LONGEST_NAME - 1}}}")
_SEARCHED_VALUE = re.compile(r"@-?[0-9][0-9.e+-]{0,30}$")

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "÷": r"$\div$",
    "−": "$-$",
} | {each: f"\\{each}" for each in "&%_#${}"}
# An underscore within a word and a bracket that no link follows are what they look like.
_MARKDOWN = re.compile(r"[\\`*<|~$]|\](?=[(\[:])|&(?=#|\w+;)|(?<!\w)_|_(?!\w)")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def check_arm_name(name: object) -> str:
    """Return a valid arm name, or raise ValueError with what is expected."""
    if not isinstance(name, str) or not _ARM_NAME.fullmatch(name):
        raise ValueError(
            f"found the name {shortened(repr(name), 60)}, expected letters, digits, '_' and '-'"
        )
    return name


def check_read_arm_name(name: str) -> str:
    """Return a valid arm name of results: as in an experiment, or ``arm@value`` of a search."""
    check_arm_name(_SEARCHED_VALUE.sub("", name))
    return name


def check_experiment_name(name: str) -> str:
    """Return a valid experiment name, or raise ValueError with what is expected."""
    is_inner = {"", ".", ".."}.isdisjoint(name.split("/"))
    if not is_inner or not name.isprintable() or len(name) > LONGEST_NAME:
        raise ValueError(
            f"found {shortened(repr(name), 60)}, expected a line of 1 to {LONGEST_NAME} characters"
            " without control characters or '..'"
        )
    return name


def printable(text: str) -> str:
    r"""Return a text with the characters that a terminal would obey as escapes, such as ``\x1b``.

    These are control and format characters, line breaks, and parts of characters.
    """
    if text.isprintable():
        return text
    return "".join(each if _is_harmless(each) else _escape(each) for each in text)


def shortened(text: str, most: int) -> str:
    """Return a text of at most ``most`` characters, with its middle removed if longer."""
    if len(text) <= most:
        return text
    tail = most // 4
    return f"{text[: most - tail - 5]} ... {text[len(text) - tail :]}"


def listed(names: Iterable[object]) -> str:
    """Return names for a message."""
    return shortened(", ".join(map(str, names)), 240)


def as_latex(text: str) -> str:
    """Return a text escaped for LaTeX."""
    return "".join(_LATEX.get(each, each) for each in printable(text))


def as_markdown(text: str) -> str:
    """Return a text escaped for Markdown."""
    return _MARKDOWN.sub(r"\\\g<0>", printable(text))


def without_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table for CSV in which no text is a spreadsheet formula."""

    def quoted(value: object) -> object:
        return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value

    escape: Callable[[object], object] = quoted
    return table.map(escape)


def _is_harmless(character: str) -> bool:
    category = unicodedata.category(character)
    return not category.startswith("C") and category not in ("Zl", "Zp")


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
