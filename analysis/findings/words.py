"""How a finding says a number: with its interval, and as a verdict that the interval allows."""

from __future__ import annotations

from collections.abc import Sequence

from analysis import intervals
from analysis.intervals import Comparison, Interval, Units


def percent(interval: Interval) -> str:
    """Return a share: ``12.6 % (11.9 to 13.3)``."""
    if interval.low == interval.high == 0:
        return "0 % (exactly)"
    value, low, high = (100 * each for each in (interval.value, interval.low, interval.high))
    return f"{value:.1f} % ({low:.1f} to {high:.1f})"


def number(interval: Interval, digits: int = 3) -> str:
    """Return a value: ``0.641 (0.633 to 0.649)``."""
    return (
        f"{_signed(interval.value, digits)} "
        f"({_signed(interval.low, digits)} to {_signed(interval.high, digits)})"
    )


def pd(units: Units) -> str:
    """Return a relative PD with its interval."""
    return percent(intervals.estimate(units, positive=True))


def loss(units: Units) -> str:
    """Return a log loss with its interval."""
    return number(intervals.estimate(units))


def ratio_cell(units: Units, baseline: Units) -> str:
    """Return a ratio for a table; bold where the interval leaves 1 out."""
    comparison = intervals.ratio(units, baseline)
    text = number(comparison.interval, 2)
    return f"**{text}**" if comparison.settled else text


def difference_cell(units: Units, baseline: Units) -> str:
    """Return a difference for a table; bold where the interval leaves 0 out."""
    comparison = intervals.difference(units, baseline)
    text = number(comparison.interval, 4)
    return f"**{text}**" if comparison.settled else text


def by_ratio(units: Units, baseline: Units) -> str:
    """Say how far a metric lies from a baseline's: ``41 % lower (95 %: 34 to 47 %)``."""
    comparison = intervals.ratio(units, baseline)
    found = comparison.interval
    if not comparison.settled:
        return f"not told apart (ratio {number(found, 2)})"
    if found.value < 1:
        low, high = 1 - found.high, 1 - found.low
        return f"{1 - found.value:.0%} lower ({low:.0%} to {high:.0%})".replace("%", " %")
    low, high = found.low - 1, found.high - 1
    return f"{found.value - 1:.0%} higher ({low:.0%} to {high:.0%})".replace("%", " %")


def by_difference(units: Units, baseline: Units) -> str:
    """Say how far a log loss lies from a baseline's, in nats."""
    comparison = intervals.difference(units, baseline)
    found = comparison.interval
    if not comparison.settled:
        return f"not told apart (difference {number(found, 4)})"
    word = "lower" if found.value < 0 else "higher"
    low, high = sorted((abs(found.low), abs(found.high)))
    return f"{abs(found.value):.4f} {word} ({low:.4f} to {high:.4f})"


def direction(comparison: Comparison, *, none: float = 1.0) -> str:
    """Return ``lower``, ``higher`` or ``open``; ``none`` is the value of no difference."""
    if not comparison.settled:
        return "open"
    return "lower" if comparison.interval.value < none else "higher"


def listed(words: Sequence[str]) -> str:
    """Join words as a sentence does; ``none`` where there are none."""
    if not words:
        return "none"
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _signed(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return text.replace("-", "−")
