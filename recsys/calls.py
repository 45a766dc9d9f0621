"""Parse named choices of a configuration: ``name`` or ``name(key=value, ...)``."""

from __future__ import annotations

import ast
import difflib
import reprlib
from collections.abc import Sequence

_short = reprlib.Repr()
_short.maxstring = 100


class ParseError(ValueError):
    """A text is not of the form ``name(key=value, ...)``."""


def parse_call(text: str) -> tuple[str, dict[str, object]]:
    """Split ``name(key=value, ...)`` into its name and its values (numbers, tuples, strings).

    Values are literals. Raises ParseError for anything else.

    Example:
        >>> parse_call("smelu(beta=0.5)")
        ('smelu', {'beta': 0.5})
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise _unreadable(text) from None
    if isinstance(tree, ast.Name):
        return tree.id, {}
    if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name) or tree.args:
        raise _unreadable(text)
    values: dict[str, object] = {}
    for keyword in tree.keywords:
        if keyword.arg is None:
            raise _unreadable(text)
        if keyword.arg in values:
            raise ParseError(f"{_short.repr(text)}: {keyword.arg} is given twice")
        try:
            values[keyword.arg] = ast.literal_eval(keyword.value)
        except (ValueError, TypeError, RecursionError, MemoryError):
            raise ParseError(
                f"{_short.repr(text)}: {keyword.arg} must be a plain value, "
                f"found {ast.unparse(keyword.value)!r}"
            ) from None
    return tree.func.id, values


def nearest(found: str, valid: Sequence[str]) -> str:
    """Return ``, did you mean 'x'?`` for the valid name nearest to ``found``, or an empty text."""
    close = difflib.get_close_matches(found, valid, n=1, cutoff=0.5)
    return f", did you mean {close[0]!r}?" if close else ""


def listed(names: Sequence[str]) -> str:
    """Return names for a message, at most 20 of them."""
    shown = ", ".join(names[:20])
    return shown if len(names) <= 20 else f"{shown} and {len(names) - 20:,} more"


def _unreadable(text: str) -> ParseError:
    return ParseError(
        f"{_short.repr(text)} cannot be read; write a name, or one with its parameters named, "
        "as in name(beta=0.5)"
    )
