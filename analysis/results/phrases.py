"""Numbers with intervals, as text."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.statistics.intervals import Comparison, Interval

#: Ratios below are said as a factor.
SMALL = 0.1


def percent(interval: Interval) -> str:
    """Return a share: ``12.6 % (11.9 to 13.3)``."""
    value, low, high = (
        _signed(100 * each, 1) for each in (interval.value, interval.low, interval.high)
    )
    return f"{value} % ({low} to {high})"


def number(interval: Interval, digits: int = 3) -> str:
    """Return a value: ``0.641 (0.633 to 0.649)``."""
    value, bounds = _parts(interval, digits)
    return f"{value} ({bounds})"


def ratio_words(comparison: Comparison) -> str:
    """Return a ratio as a change: ``41 % lower (34 to 47)``."""
    found = comparison.interval
    if not comparison.settled:
        return f"not significantly different {_in_brackets('ratio', found, 2)}"
    if found.value < SMALL:
        times = [f"{1 / each:,.0f}" for each in (found.value, found.high, found.low)]
        return f"{times[0]} times lower ({times[1]} to {times[2]})"
    if found.value < 1:
        low, high = 100 * (1 - found.high), 100 * (1 - found.low)
        return f"{100 * (1 - found.value):.0f} % lower ({low:.0f} to {high:.0f})"
    low, high = 100 * (found.low - 1), 100 * (found.high - 1)
    return f"{100 * (found.value - 1):.0f} % higher ({low:.0f} to {high:.0f})"


def difference_words(comparison: Comparison) -> str:
    """Return a difference in nats: ``0.0077 lower (0.0005 to 0.0149)``."""
    found = comparison.interval
    if not comparison.settled:
        return f"not significantly different {_in_brackets('difference', found, 4)}"
    word = "lower" if found.value < 0 else "higher"
    low, high = sorted((abs(found.low), abs(found.high)))
    return f"{abs(found.value):.4f} {word} ({low:.4f} to {high:.4f})"


def joined(words: Sequence[str]) -> str:
    """Return words joined with commas and "and"; ``none`` if there are none."""
    if not words:
        return "none"
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _in_brackets(name: str, interval: Interval, digits: int) -> str:
    value, bounds = _parts(interval, digits)
    return f"({name} {value}, {bounds})"


def _parts(interval: Interval, digits: int) -> tuple[str, str]:
    value, low, high = (
        _signed(each, digits) for each in (interval.value, interval.low, interval.high)
    )
    return value, f"{low} to {high}"


def _signed(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    if value and not float(text):
        text = f"{value:.1e}"
    return text.replace("-", "−")
