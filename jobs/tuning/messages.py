"""What a search reports, in sentences and as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from analysis.results.phrases import joined, number, percent
from analysis.statistics.intervals import Interval
from jobs.tuning.arms import arm_name
from jobs.tuning.config import SearchConfig
from jobs.tuning.policy import Candidate, Outcome, Request, Standing, Verdict, standing

_LOSS_DIGITS = 4


def step(config: SearchConfig, request: Request) -> str:
    """Say what is asked for."""
    counts = [count for _, count in request.replicas]
    more = [f"{value:g} ({count})" for value, count in request.replicas if count > config.replicas]
    added = f", more of {joined(more)}" if more else ""
    return (
        f"round {request.round} of {config.rounds}: {len(counts)} values of {config.parameter}, "
        f"{config.replicas} replicas each{added}"
    )


def answer(
    config: SearchConfig, baseline: str, verdict: Verdict, confirmed: Candidate | None
) -> list[str]:
    """Return the answer, in sentences, with what weakens it."""
    tried = f"of {len(verdict.candidates)} values from {config.low:g} to {config.high:g}"
    if verdict.outcome is Outcome.NOTHING:
        return _nothing(config, baseline, verdict, tried)
    if verdict.outcome is Outcome.CANNOT_TELL:
        return _cannot_tell(config, baseline, verdict, tried)
    best = verdict.best
    assert best is not None
    told = [
        f"{_name(config, best)} has the smallest relative PD {tried} whose log loss is not worse "
        f"than {baseline}'s by more than {config.epsilon:g}: {_described(best, baseline)}."
    ]
    told += _rivals(config, verdict) + _edge(config, verdict)
    told.append(_honesty(config, baseline, verdict, confirmed))
    judged = best if confirmed is None or confirmed.failed else confirmed
    if not judged.pd_ratio.high < 1:
        told.append(f"That its relative PD is smaller than {baseline}'s is not shown.")
    return told


def exporting(
    config: SearchConfig, confirmed: Candidate | None, place: str, model: str = ""
) -> str:
    """Say how what was found is exported, from the sweep of its fresh replicas at a place.

    ``model`` is the arm's: an export imports a user's own only by name.
    """
    if confirmed is None or confirmed.failed:
        return "No weights are kept: nothing was confirmed."
    arm = arm_name(config, confirmed.value)
    named = f" --model {model}" if ":" in model else ""
    return f"Export it with: soloist export {place} --arm {arm}{named} --output DIR"


def table(config: SearchConfig, verdict: Verdict) -> Table:
    """Return all that was tried."""
    shown = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    headings = (
        config.parameter,
        "replicas",
        "log loss − baseline",
        "relative PD",
        "PD ÷ baseline",
        f"ε = {config.epsilon:g}",
    )
    for place, heading in enumerate(headings):
        shown.add_column(heading, justify="left" if place == len(headings) - 1 else "right")
    for each in verdict.candidates:
        judged = each.failed or str(standing(each, config.epsilon))
        chosen = verdict.outcome is Outcome.FOUND and each is verdict.best
        shown.add_row(
            f"{each.value:g}",
            str(each.replicas),
            _cell(each.log_loss, _LOSS_DIGITS),
            percent(each.relative_pd) if _known(each.relative_pd) else "",
            _cell(each.pd_ratio, 2),
            judged,
            style="bold" if chosen else None,
        )
    return shown


def _nothing(config: SearchConfig, baseline: str, verdict: Verdict, tried: str) -> list[str]:
    if verdict.best is None:
        return [f"Nothing is found: every training {tried} failed."]
    best = verdict.best
    return [
        f"Nothing is found: none {tried} of {config.arm}'s {config.parameter} has a log loss "
        f"within {config.epsilon:g} of {baseline}'s. The nearest is {best.value:g}: "
        f"{_described(best, baseline)}.",
        *_edge(config, verdict),
    ]


def _cannot_tell(config: SearchConfig, baseline: str, verdict: Verdict, tried: str) -> list[str]:
    open_ones = "; ".join(
        f"{each.value:g}: {_described(each, baseline)}" for each in verdict.rivals
    )
    return [
        f"It cannot be told with {config.max_replicas} replicas: none {tried} of {config.arm}'s "
        f"{config.parameter} is known to have a log loss within {config.epsilon:g} of "
        f"{baseline}'s, and {_count(verdict.rivals)} may have. {open_ones}.",
        "More replicas (search.max_replicas) or a larger search.epsilon would settle it.",
    ]


def _rivals(config: SearchConfig, verdict: Verdict) -> list[str]:
    alike = [each for each in verdict.rivals if standing(each, config.epsilon) is Standing.MEETS]
    unclear = [each for each in verdict.rivals if standing(each, config.epsilon) is Standing.OPEN]
    told = []
    if alike:
        told.append(
            f"The relative PD of {joined(_values(alike))} is not told apart from it with "
            f"{config.max_replicas} replicas."
        )
    if unclear:
        told.append(
            f"Whether the log loss of {joined(_values(unclear))} is within ε cannot be told with "
            f"{config.max_replicas} replicas; the relative PD may be smaller there."
        )
    return told


def _edge(config: SearchConfig, verdict: Verdict) -> list[str]:
    if verdict.best is None:
        return []
    if verdict.best.value in (config.low, config.high):
        return ["It lies at an end of the range: a wider range may hold a better one."]
    below, above = verdict.between
    beside = (config.low if below is None else below, config.high if above is None else above)
    return [f"Between {beside[0]:g} and {beside[1]:g} no other value was tried."]


def _honesty(
    config: SearchConfig, baseline: str, verdict: Verdict, confirmed: Candidate | None
) -> str:
    if confirmed is None:
        return (
            "Its intervals are taken alone, at 95 %: they allow neither for the choice among "
            f"{len(verdict.candidates)} values nor for looking more than once, and so flatter it. "
            "Fresh replicas (search.confirm) would not."
        )
    if confirmed.failed:
        return f"It could not be confirmed on fresh replicas: {confirmed.failed}."
    judged = {
        Standing.MEETS: "Confirmed: the log loss is within ε",
        Standing.MISSES: "Not confirmed: the log loss is worse by more than ε",
        Standing.OPEN: "Not confirmed: the log loss may be worse by more than ε",
    }[standing(confirmed, config.epsilon)]
    return (
        f"{judged}, on {confirmed.replicas} fresh replicas of it and of {baseline}, which took no "
        f"part in the choice (the evaluation examples are the same): "
        f"{_described(confirmed, baseline)}."
    )


def _described(each: Candidate, baseline: str) -> str:
    return (
        f"log loss differs by {number(each.log_loss, _LOSS_DIGITS)}, relative PD is "
        f"{percent(each.relative_pd)}, {number(each.pd_ratio, 2)} times {baseline}'s, "
        f"{each.replicas} replicas"
    )


def _name(config: SearchConfig, each: Candidate) -> str:
    return f"{config.arm} with {config.parameter} = {each.value:g}"


def _values(candidates: Sequence[Candidate]) -> list[str]:
    return [f"{each.value:g}" for each in candidates]


def _count(candidates: Sequence[Candidate]) -> str:
    return "one" if len(candidates) == 1 else str(len(candidates))


def _cell(interval: Interval, digits: int) -> str:
    return number(interval, digits) if _known(interval) else ""


def _known(interval: Interval) -> bool:
    return not math.isnan(interval.value)
