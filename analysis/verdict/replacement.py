"""Whether one smooth model replaces what is paid for today: who is compared, and the decision.

A candidate replaces an incumbent if its relative PD and its log loss are both known to be no worse
by more than a margin, and it reads no more embedding rows to serve. Both must hold, so neither test
is corrected for the other (an intersection-union test); the choice among several candidates is:
each comparison has the confidence at which all candidates' intervals hold together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from analysis.results.reading import ArmResults
from analysis.results.summary import ArmSummary, Estimates, measure
from analysis.statistics import intervals
from analysis.statistics.intervals import Comparison

#: Single models of these activations are candidates.
SMOOTH = ("smelu", "gsmelu", "rescu")
#: Counted lookups of two arms that read the same differ by rounding alone.
_SAME_LOOKUPS = 1e-6


@dataclass(frozen=True, kw_only=True, slots=True)
class Margins:
    """How much worse a replacement may be: log loss in nats, relative PD as a share of it.

    0.001 is what Wang et al. 2017 (arXiv 1708.05123) call a practically significant log loss.
    """

    log_loss: float = 0.001
    relative_pd: float = 0.05


class Standing(Enum):
    """What is known of one quantity of a candidate: within its margin, beyond it, or neither."""

    WITHIN = "within"
    BEYOND = "beyond"
    OPEN = "open"
    UNDEFINED = "undefined"


class Outcome(Enum):
    """Whether a candidate replaces an incumbent."""

    REPLACES = "replaces"
    OPEN = "open"
    UNDEFINED = "undefined"
    FAILS = "fails"


@dataclass(frozen=True, kw_only=True, slots=True)
class Replacement:
    """A candidate beside an incumbent; lookups are the candidate's over the incumbent's."""

    candidate: str
    incumbent: str
    relative_pd: Comparison
    log_loss: Comparison
    train_lookups: float
    serve_lookups: float
    margins: Margins

    @property
    def standings(self) -> tuple[Standing, Standing]:
        """Of relative PD and of log loss."""
        return (
            _standing(self.relative_pd, 1.0 + self.margins.relative_pd),
            _standing(self.log_loss, self.margins.log_loss),
        )

    @property
    def outcome(self) -> Outcome:
        """The decision."""
        found = self.standings
        if self.reads_more or Standing.BEYOND in found:
            return Outcome.FAILS
        if Standing.UNDEFINED in found:
            return Outcome.UNDEFINED
        return Outcome.OPEN if Standing.OPEN in found else Outcome.REPLACES

    @property
    def reads_more(self) -> bool:
        """Whether it needs more embedding rows to serve."""
        return self.serve_lookups > 1.0 + _SAME_LOOKUPS

    @property
    def open(self) -> tuple[Comparison, ...]:
        """What is not settled yet."""
        both = zip((self.relative_pd, self.log_loss), self.standings, strict=True)
        return tuple(comparison for comparison, found in both if found is Standing.OPEN)


def trained_alike(arms: Sequence[ArmSummary], baseline: ArmResults) -> list[ArmSummary]:
    """Return the arms that were trained under the conditions of the baseline.

    More workers, another shuffle or more epochs change the PD of any model, so what such an arm
    shows is not its model's doing.
    """
    return [each for each in arms if each.arm.conditions == baseline.conditions]


def incumbents(arms: Sequence[ArmSummary], baseline: ArmResults) -> list[ArmSummary]:
    """Return what a candidate might replace, the main one first.

    That is the baseline if it is no single model; else of the arms of several components that are
    not smooth the costliest to serve (of equal ones the costliest to train, then the first); else
    the baseline. Chosen by counted costs alone: no measured value has a say.
    """
    (base,) = (each for each in arms if each.arm is baseline)
    composed = [
        each
        for each in arms
        if each.arm.kind != "single" and not _is_smooth(each.arm) and each is not base
    ]
    costliest = max(
        composed, key=lambda each: (_bytes(each), _known(each.counted.train_lookups)), default=base
    )
    main = base if baseline.kind != "single" else costliest
    return [main, *(each for each in (*composed, base) if each is not main)]


def candidates(arms: Sequence[ArmSummary]) -> list[ArmSummary]:
    """Return the single smooth models."""
    return [each for each in arms if each.arm.kind == "single" and _is_smooth(each.arm)]


def choose(found: Sequence[Replacement]) -> Replacement | None:
    """Return the candidate to speak of: one that replaces, else one that may, else the nearest.

    Among equals it is the one of lowest PD.
    """
    order = list(Outcome)

    def rank(each: Replacement) -> tuple[int, int, float]:
        failed = each.standings.count(Standing.BEYOND) + each.reads_more
        ratio = each.relative_pd.interval.value
        return order.index(each.outcome), failed, math.inf if math.isnan(ratio) else ratio

    return min(found, key=rank, default=None)


def compare(
    incumbent: ArmSummary, contenders: Sequence[ArmSummary], rivals: int, margins: Margins
) -> list[Replacement]:
    """Set each contender beside an incumbent, at the confidence that ``rivals`` of them need.

    Reads the arms' predictions again; two arms' are held at a time.

    Raises:
        ResultsError: a finished trial is not what was promised.
    """
    if not contenders:
        return []
    ours = measure(incumbent.arm)
    return [
        _beside(each, incumbent, measure(each.arm), ours, rivals, margins) for each in contenders
    ]


def _beside(
    candidate: ArmSummary,
    incumbent: ArmSummary,
    theirs: Estimates,
    ours: Estimates,
    rivals: int,
    margins: Margins,
) -> Replacement:
    confidence = intervals.each_of(rivals)
    return Replacement(
        candidate=candidate.arm.name,
        incumbent=incumbent.arm.name,
        relative_pd=intervals.ratio(
            theirs.relative_pd,
            ours.relative_pd,
            confidence=confidence,
            against=1.0 + margins.relative_pd,
        ),
        log_loss=intervals.difference(
            theirs.log_loss, ours.log_loss, confidence=confidence, against=margins.log_loss
        ),
        train_lookups=candidate.counted.train_lookups / incumbent.counted.train_lookups,
        serve_lookups=candidate.counted.serve_lookups / incumbent.counted.serve_lookups,
        margins=margins,
    )


def _standing(comparison: Comparison, against: float) -> Standing:
    if math.isnan(comparison.interval.low):
        return Standing.UNDEFINED
    if not comparison.settled:
        return Standing.OPEN
    return Standing.WITHIN if comparison.interval.value < against else Standing.BEYOND


def _is_smooth(arm: ArmResults) -> bool:
    return arm.activation.split("(")[0] in SMOOTH and arm.beta != 0


def _bytes(arm: ArmSummary) -> float:
    return _known(arm.counted.serve_lookup_bytes)


def _known(value: float) -> float:
    return -math.inf if math.isnan(value) else value
