"""The verdict as text: whether one smooth model replaces the incumbent."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from analysis.results.phrases import joined
from analysis.results.reading import ArmResults
from analysis.results.summary import ArmSummary, Summary
from analysis.statistics.intervals import FEWEST_REPLICAS, Interval
from analysis.verdict.replacement import (
    Margins,
    Outcome,
    Replacement,
    Standing,
    candidates,
    choose,
    compare,
    incumbents,
    trained_alike,
)

_SPELLING = {
    "relu": "ReLU",
    "smelu": "SmeLU",
    "gsmelu": "gSmeLU",
    "rescu": "RESCU",
    "swish": "Swish",
    "gelu": "GELU",
    "softplus": "Softplus",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The verdict on an incumbent; ``chosen`` is the candidate it is about, if any."""

    words: str
    outcome: Outcome
    incumbent: ArmResults
    chosen: ArmResults | None


def verdicts(summary: Summary, margins: Margins) -> tuple[Verdict, ...]:
    """Compare all candidates with the main incumbent, then the chosen one with the others.

    Arms trained under other conditions than the baseline are left out, and so are candidates that
    learned nothing. If the incumbent, or every candidate, learned nothing, there is no comparison.
    Reads the predictions of the arms again, two arms at a time.

    Raises:
        ResultsError: a finished trial is invalid.
    """
    by_name = {each.arm.name: each for each in summary.arms}
    title = titles(each.arm for each in summary.arms)
    alike = trained_alike(summary.arms, summary.sweep.baseline)
    main, *others = incumbents(alike, summary.sweep.baseline)
    rivals = [each for each in candidates(alike) if each is not main]

    def judged(incumbent: ArmSummary, contenders: Sequence[ArmSummary]) -> Verdict:
        learned = [each for each in contenders if not each.learned_nothing]
        if contenders and (incumbent.learned_nothing or not learned):
            words = _nothing_learned([incumbent, *contenders], title)
            return Verdict(
                words=words, outcome=Outcome.UNDEFINED, incumbent=incumbent.arm, chosen=None
            )
        contenders = learned
        found = compare(incumbent, contenders, len(rivals), margins)
        chosen = choose(found)
        return Verdict(
            words=in_words(found, title, _as_object(incumbent.arm, title)),
            outcome=Outcome.UNDEFINED if chosen is None else chosen.outcome,
            incumbent=incumbent.arm,
            chosen=None if chosen is None else by_name[chosen.candidate].arm,
        )

    first = judged(main, rivals)
    if first.chosen is None:
        return (first,)
    chosen = by_name[first.chosen.name]
    return (first, *(judged(each, [chosen]) for each in others if each is not chosen))


def in_words(found: Sequence[Replacement], title: dict[str, str], today: str) -> str:
    """Return the verdict on an incumbent called ``today``; ``title`` maps arms to their titles."""
    chosen = choose(found)
    if chosen is None:
        return f"This sweep has no single SmeLU model to replace {today}."
    name = title[chosen.candidate]
    facts = _facts(chosen)
    if chosen.outcome is Outcome.REPLACES:
        also = [
            title[each.candidate]
            for each in found
            if each.outcome is Outcome.REPLACES and each is not chosen
        ]
        others = f" So would {', '.join(also)}." if also else ""
        return f"{name} replaces {today}: {facts}.{others}"
    if chosen.outcome is Outcome.FAILS:
        if len(found) == 1:
            return f"{name} does not replace {today}: {facts}. {_failure(chosen)}."
        return (
            f"None of {len(found)} SmeLU models replaces {today}; the nearest is {name}: {facts}."
            f" {_failure(chosen)}."
        )
    if chosen.outcome is Outcome.UNDEFINED:
        return f"Whether {name} replaces {today} cannot be decided: {_reason(chosen)}."
    return f"Whether {name} replaces {today} is not decided yet: {facts}. {_needed(chosen)}."


def _nothing_learned(arms: Sequence[ArmSummary], title: dict[str, str]) -> str:
    found = [each for each in arms if each.learned_nothing]
    ne = max((each.measured.ne for each in found), key=lambda each: each.high)
    names = joined([title[each.arm.name] for each in found])
    return (
        f"No verdict: {names} learned nothing. A normalized entropy of {ne.value:.3f} "
        f"[{ne.low:.3f}, {ne.high:.3f}] is not significantly below 1, that of a constant "
        "prediction. Usual causes: a dense feature without scaling (log: true), ids that training "
        "never saw, or the learning rate."
    )


def titles(arms: Iterable[ArmResults]) -> dict[str, str]:
    """Return each arm's title; arms with the same title get their name appended."""
    described = {arm.name: _described(arm) for arm in arms}
    often = Counter(described.values())
    return {
        name: words if often[words] == 1 else f"{words} ({name})"
        for name, words in described.items()
    }


def _as_object(arm: ArmResults, title: dict[str, str]) -> str:
    return title[arm.name] if arm.kind == "single" else f"the {title[arm.name]}"


def _facts(found: Replacement) -> str:
    ranking = (
        f" ranking loss {_difference(found.ranking_loss.interval)}," if found.ranking_loss else ""
    )
    return (
        f"PD {_change(found.relative_pd.interval)},"
        f" log loss {_difference(found.log_loss.interval)},{ranking}"
        f" lookups {_lookups(found.serve_lookups)}"
    )


def _lookups(ratio: float) -> str:
    change = _percent(ratio - 1.0)
    return "unchanged" if change == "0 %" else change


def _failure(found: Replacement) -> str:
    most = {
        "PD": f"{100 * found.margins.relative_pd:g} %",
        "log loss": f"{found.margins.log_loss:g}",
        "ranking loss": f"{found.ranking_margin:.2g}",
    }
    reasons = [
        f"its {name} is higher by more than {most[name]}"
        for name, standing in found.standings.items()
        if standing is Standing.BEYOND
    ]
    if found.reads_more:
        reasons.append("it reads more embedding rows")
    text = " and ".join(reasons)
    return text[0].upper() + text[1:]


def _needed(found: Replacement) -> str:
    replicas = min(each.interval.replicas for each in found.open)
    if not all(each.interval.covers_replicas for each in found.open):
        more = FEWEST_REPLICAS - replicas
        return (
            f"{replicas} replicas are too few: at least {more} more of each arm "
            f"{'is' if more == 1 else 'are'} needed"
        )
    needed = [each.more_replicas for each in found.open if each.more_replicas is not None]
    if len(needed) < len(found.open):
        return "More replicas would not decide it; more evaluation examples are needed"
    more = max(needed)
    return (
        f"{more} more {'replica' if more == 1 else 'replicas'} of each arm, {replicas + more} "
        "in total, would decide it if the values stay the same"
    )


def _reason(found: Replacement) -> str:
    every = (each.interval for each in found.comparisons.values())
    return next(each.reason for each in every if math.isnan(each.low))


def _change(ratio: Interval) -> str:
    if math.isnan(ratio.value):
        return "not known"
    low, high = (_percent(bound - 1.0, unit="") for bound in (ratio.low, ratio.high))
    return f"{_percent(ratio.value - 1.0)} [{low}, {high}]"


def _difference(interval: Interval) -> str:
    if math.isnan(interval.value):
        return "not known"
    value, low, high = (_signed(each, 4) for each in (interval.value, interval.low, interval.high))
    return f"{value} [{low}, {high}]"


def _percent(share: float, unit: str = " %") -> str:
    return f"{_signed(100 * share, 0)}{unit}"


def _signed(value: float, digits: int) -> str:
    if math.isnan(value):
        return "?"
    text = f"{value:+.{digits}f}"
    return f"{0:.{digits}f}" if float(text) == 0 else text.replace("-", "−")


def _described(arm: ArmResults) -> str:
    activation = _SPELLING.get(arm.activation, arm.activation)
    if not math.isnan(arm.beta):
        activation += f" β={arm.beta:g}"
    count = arm.components
    return {
        "single": activation,
        "ensemble": f"{count}-component {activation} ensemble",
        "self_ensemble": f"{count}-tower {activation} self-ensemble",
        "anti_distilled": f"{count}-component anti-distilled {activation} ensemble",
        "distilled": f"{activation} model distilled from {count} components",
        "codistilled": f"{activation} model codistilled among {count}",
    }.get(arm.kind, f"{arm.kind} of {count} × {activation}")
