"""Whether a single smooth model replaces the incumbent: which arms are compared, and the decision.

A candidate replaces an incumbent if relative PD, log loss and, with groups, ranking loss are
non-inferior within a margin, and it reads no more embedding rows in serving. All must hold, so the
tests are not corrected for each other (an intersection-union test). The choice among several
candidates is corrected (Bonferroni). Models that learned nothing are not compared.
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
    """Non-inferiority margins: log loss in nats, relative PD as a share of the incumbent's.

    0.001 nats is a practically significant log loss in Wang et al. 2017 (arXiv 1708.05123). That of
    ranking loss is a share of what the incumbent gained over random order, whose loss is 0.5.
    """

    log_loss: float = 0.001
    relative_pd: float = 0.05
    ranking_loss: float = 0.01


class Standing(Enum):
    """Of one quantity of a candidate: within its margin, beyond it, or open."""

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
    """A candidate compared with an incumbent; lookups are the ratio candidate / incumbent.

    ``ranking_loss`` is None if no group has both labels.
    """

    candidate: str
    incumbent: str
    relative_pd: Comparison
    log_loss: Comparison
    ranking_loss: Comparison | None = None
    ranking_margin: float = math.nan
    """Tolerated increase of the ranking loss"""
    train_lookups: float
    serve_lookups: float
    margins: Margins

    @property
    def comparisons(self) -> dict[str, Comparison]:
        """The quantities that decide, by name."""
        found = {"PD": self.relative_pd, "log loss": self.log_loss}
        return found if self.ranking_loss is None else {**found, "ranking loss": self.ranking_loss}

    @property
    def standings(self) -> dict[str, Standing]:
        """The standing of each of ``comparisons``."""
        against = {
            "PD": 1.0 + self.margins.relative_pd,
            "log loss": self.margins.log_loss,
            "ranking loss": self.ranking_margin,
        }
        return {name: _standing(found, against[name]) for name, found in self.comparisons.items()}

    @property
    def outcome(self) -> Outcome:
        """The decision."""
        found = self.standings.values()
        if self.reads_more or Standing.BEYOND in found:
            return Outcome.FAILS
        if Standing.UNDEFINED in found:
            return Outcome.UNDEFINED
        return Outcome.OPEN if Standing.OPEN in found else Outcome.REPLACES

    @property
    def reads_more(self) -> bool:
        """Whether it reads more embedding rows in serving."""
        return self.serve_lookups > 1.0 + _SAME_LOOKUPS

    @property
    def open(self) -> tuple[Comparison, ...]:
        """The quantities that are not settled."""
        return tuple(
            self.comparisons[name]
            for name, standing in self.standings.items()
            if standing is Standing.OPEN
        )


def trained_alike(arms: Sequence[ArmSummary], baseline: ArmResults) -> list[ArmSummary]:
    """Return the arms trained under the baseline's conditions.

    Other workers, shuffle or epochs change the PD of any model, so such arms are not comparable.
    """
    return [each for each in arms if each.arm.conditions == baseline.conditions]


def incumbents(arms: Sequence[ArmSummary], baseline: ArmResults) -> list[ArmSummary]:
    """Return the arms that a candidate might replace, the main one first.

    The main one is the baseline if it has several components; else the non-smooth arm of several
    components with the most lookups in serving (then in training); else the baseline. The choice
    uses counted costs only, no measured value.
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
    """Return the candidate to report: one that replaces, else one that may, else the nearest.

    Among equals, the one with the lowest PD.
    """
    order = list(Outcome)

    def rank(each: Replacement) -> tuple[int, int, float]:
        failed = list(each.standings.values()).count(Standing.BEYOND) + each.reads_more
        ratio = each.relative_pd.interval.value
        return order.index(each.outcome), failed, math.inf if math.isnan(ratio) else ratio

    return min(found, key=rank, default=None)


def compare(
    incumbent: ArmSummary, contenders: Sequence[ArmSummary], rivals: int, margins: Margins
) -> list[Replacement]:
    """Compare each contender with an incumbent, at the confidence for ``rivals`` of them.

    Reads the arms' predictions again, two arms at a time.

    Raises:
        ResultsError: a finished trial is invalid.
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
    ranking_loss = ours.ranking_loss.mean
    ranked = not math.isnan(ranking_loss + theirs.ranking_loss.mean)
    ranking_margin = margins.ranking_loss * max(0.5 - ranking_loss, 0.0)
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
        ranking_loss=intervals.difference(
            theirs.ranking_loss, ours.ranking_loss, confidence=confidence, against=ranking_margin
        )
        if ranked
        else None,
        ranking_margin=ranking_margin,
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
