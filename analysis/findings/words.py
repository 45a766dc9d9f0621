"""How a finding says a number: with its interval, and as a verdict that the interval allows."""

from __future__ import annotations

from collections.abc import Sequence

from analysis import intervals
from analysis.intervals import Comparison, Interval, Units
from analysis.summary import Estimates

#: Ratios below are said as a factor.
SMALL = 0.1
UNDECIDED = "**Undecided**."


def percent(interval: Interval) -> str:
    """Return a share: ``12.6 % (11.9 to 13.3)``."""
    if interval.low == interval.high == 0:
        return "0 % (exactly)"
    value, low, high = (
        _signed(100 * each, 1) for each in (interval.value, interval.low, interval.high)
    )
    return f"{value} % ({low} to {high})"


def number(interval: Interval, digits: int = 3) -> str:
    """Return a value: ``0.641 (0.633 to 0.649)``."""
    value, bounds = _parts(interval, digits)
    return f"{value} ({bounds})"


def in_brackets(name: str, interval: Interval, digits: int) -> str:
    """Return a named value for within a sentence: ``(ratio 0.95, 0.75 to 1.19)``."""
    value, bounds = _parts(interval, digits)
    return f"({name} {value}, {bounds})"


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


def beside(arm: Estimates, baseline: Estimates) -> tuple[str, str, str, str]:
    """Return cells: relative PD, its ratio, log loss, its difference; blank for the baseline."""
    same = arm is baseline
    return (
        pd(arm.relative_pd),
        "" if same else ratio_cell(arm.relative_pd, baseline.relative_pd),
        loss(arm.log_loss),
        "" if same else difference_cell(arm.log_loss, baseline.log_loss),
    )


def by_ratio(units: Units, baseline: Units) -> str:
    """Say how far a metric lies from a baseline's: ``41 % lower (34 to 47)``."""
    return ratio_words(intervals.ratio(units, baseline))


def by_difference(units: Units, baseline: Units) -> str:
    """Say how far a log loss lies from a baseline's, in nats."""
    return difference_words(intervals.difference(units, baseline))


def ratio_words(comparison: Comparison) -> str:
    """Say a ratio: ``41 % lower (34 to 47)``."""
    found = comparison.interval
    if not comparison.settled:
        return f"not told apart {in_brackets('ratio', found, 2)}"
    if found.value < SMALL:
        times = [f"{1 / each:,.0f}" for each in (found.value, found.high, found.low)]
        return f"{times[0]} times lower ({times[1]} to {times[2]})"
    if found.value < 1:
        low, high = 100 * (1 - found.high), 100 * (1 - found.low)
        return f"{100 * (1 - found.value):.0f} % lower ({low:.0f} to {high:.0f})"
    low, high = 100 * (found.low - 1), 100 * (found.high - 1)
    return f"{100 * (found.value - 1):.0f} % higher ({low:.0f} to {high:.0f})"


def difference_words(comparison: Comparison) -> str:
    """Say a difference in nats: ``0.0077 lower (0.0005 to 0.0149)``."""
    found = comparison.interval
    if not comparison.settled:
        return f"not told apart {in_brackets('difference', found, 4)}"
    word = "lower" if found.value < 0 else "higher"
    low, high = sorted((abs(found.low), abs(found.high)))
    return f"{abs(found.value):.4f} {word} ({low:.4f} to {high:.4f})"


class Verdicts:
    """What was compared, by what came out."""

    def __init__(self) -> None:
        self.lower: list[str] = []
        self.higher: list[str] = []
        self.open: list[str] = []

    def add(self, name: str, comparison: Comparison) -> None:
        """Put ``name`` where a ratio says it belongs."""
        getattr(self, direction(comparison)).append(name)

    def for_the_paper(self) -> str:
        """Say what it means for the paper, which promises lower values."""
        if self.higher:
            return "**Against the paper**, at least in part."
        if not self.open:
            return "**For the paper**, throughout."
        return "**For the paper** in part, undecided for the rest." if self.lower else UNDECIDED

    def words(self, lower: str, higher: str, undecided: str) -> str:
        """Say who came out how, each after its own words; leave out what has nobody."""
        groups = ((lower, self.lower), (higher, self.higher), (undecided, self.open))
        return "; ".join(f"{words} {listed(names)}" for words, names in groups if names)


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
