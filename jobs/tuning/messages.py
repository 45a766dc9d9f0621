"""The messages and the table of a search."""

from __future__ import annotations

import math

from rich.box import SIMPLE_HEAD
from rich.table import Table

from analysis.results.phrases import joined, number, percent
from analysis.statistics.intervals import Interval
from jobs.experiment.schema import SearchConfig
from jobs.tuning.policy import (
    Candidate,
    Feasibility,
    Outcome,
    Request,
    Verdict,
    arm_name,
    feasibility,
)

_LOSS_DIGITS = 4


def step(config: SearchConfig, request: Request) -> str:
    """Describe a request."""
    counts = request.replicas
    more = [f"{value:g} ({count})" for value, count in counts if count > config.replicas]
    added = f", more of {joined(more)}" if more else ""
    return (
        f"round {request.round} of {config.rounds}: {len(counts)} values of {config.parameter}, "
        f"{config.replicas} replicas each{added}"
    )


def answer(
    config: SearchConfig, baseline: str, verdict: Verdict, confirmed: Candidate | None
) -> list[str]:
    """Return the verdict in sentences, with its limitations."""
    tried = f"of {len(verdict.candidates)} values from {config.low:g} to {config.high:g}"
    best, parameter = verdict.best, f"{config.arm}'s {config.parameter}"
    if verdict.outcome is Outcome.UNDECIDED:
        rivals = "; ".join(
            f"{each.value:g}: {_described(each, baseline)}" for each in verdict.rivals
        )
        count = "one" if len(verdict.rivals) == 1 else str(len(verdict.rivals))
        return [
            f"Undecided with {config.max_replicas} replicas: none {tried} of {parameter} is shown "
            f"to have a log loss within {config.epsilon:g} of {baseline}'s, and {count} may have. "
            f"{rivals}.",
            "More replicas (search.max_replicas) or a larger search.epsilon would decide it.",
        ]
    if best is None:
        return [f"No value found: every training {tried} failed."]
    if verdict.outcome is Outcome.NONE_FEASIBLE:
        return [
            f"No value found: none {tried} of {parameter} has a log loss within "
            f"{config.epsilon:g} of {baseline}'s. The nearest is {best.value:g}: "
            f"{_described(best, baseline)}.",
            *_range(config, best, verdict),
        ]
    judged = best if confirmed is None or confirmed.failed else confirmed
    sentences = [
        f"{config.arm} with {config.parameter} = {best.value:g} has the smallest relative PD "
        f"{tried} whose log loss is not worse than {baseline}'s by more than {config.epsilon:g}: "
        f"{_described(best, baseline)}.",
        *_rivals(config, verdict),
        *_range(config, best, verdict),
        _confirmation(config, baseline, verdict, confirmed),
    ]
    if not judged.pd_ratio.high < 1:
        sentences.append(
            f"Its relative PD is not significantly smaller than {baseline}'s: the ratio is "
            f"{number(judged.pd_ratio, 2)}."
        )
    return sentences


def exporting(
    config: SearchConfig, confirmed: Candidate | None, place: str, model: str = ""
) -> str:
    """Return the command that exports the winner from the confirmation sweep at ``place``.

    ``model`` is the arm's: an export imports a custom model only by name.
    """
    if confirmed is None or confirmed.failed:
        return "No weights are kept: nothing was confirmed."
    arm = arm_name(config, confirmed.value)
    named = f" --model {model}" if ":" in model else ""
    return f"Export it with: soloist export {place} --arm {arm}{named} --output DIR"


def table(config: SearchConfig, verdict: Verdict) -> Table:
    """Return the table of all candidates."""
    shown = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in (
        config.parameter,
        "replicas",
        "log loss − baseline",
        "relative PD",
        "PD ratio to baseline",
    ):
        shown.add_column(heading, justify="right")
    shown.add_column(f"ε = {config.epsilon:g}")
    for each in verdict.candidates:
        is_chosen = verdict.outcome is Outcome.FOUND and each is verdict.best
        shown.add_row(
            f"{each.value:g}",
            str(each.replicas),
            _cell(each.log_loss, _LOSS_DIGITS),
            "" if math.isnan(each.relative_pd.value) else percent(each.relative_pd),
            _cell(each.pd_ratio, 2),
            each.failed or str(feasibility(each, config.epsilon)),
            style="bold" if is_chosen else None,
        )
    return shown


def _rivals(config: SearchConfig, verdict: Verdict) -> list[str]:
    kinds = {each: feasibility(each, config.epsilon) for each in verdict.rivals}
    similar = [
        f"{each.value:g}, {percent(each.relative_pd)},"
        for each, kind in kinds.items()
        if kind is Feasibility.FEASIBLE
    ]
    undecided = [f"{each.value:g}" for each, kind in kinds.items() if kind is Feasibility.UNDECIDED]
    sentences = []
    if similar:
        sentences.append(
            f"The relative PD of {joined(similar)} is not significantly different with "
            f"{config.max_replicas} replicas."
        )
    if undecided:
        sentences.append(
            f"Whether the log loss of {joined(undecided)} is within ε is undecided with "
            f"{config.max_replicas} replicas; the relative PD may be smaller there."
        )
    return sentences


def _range(config: SearchConfig, best: Candidate, verdict: Verdict) -> list[str]:
    if best.value in (config.low, config.high):
        return ["It is at an end of the range: a wider range may contain a better value."]
    low, high = verdict.between
    low, high = (config.low if low is None else low, config.high if high is None else high)
    return [f"No other value between {low:g} and {high:g} was tried."]


def _confirmation(
    config: SearchConfig, baseline: str, verdict: Verdict, confirmed: Candidate | None
) -> str:
    if confirmed is None:
        return (
            "Its 95 % intervals are optimistic: they correct neither for the selection among "
            f"{len(verdict.candidates)} values nor for repeated looks. New replicas "
            "(search.confirm) have neither bias."
        )
    if confirmed.failed:
        return f"It could not be confirmed on new replicas: {confirmed.failed}."
    judged = {
        Feasibility.FEASIBLE: "Confirmed: the log loss is within ε",
        Feasibility.INFEASIBLE: "Not confirmed: the log loss is worse by more than ε",
        Feasibility.UNDECIDED: "Not confirmed: the log loss may be worse by more than ε",
    }[feasibility(confirmed, config.epsilon)]
    return (
        f"{judged}, on {confirmed.replicas} new replicas of it and of {baseline}, which took no "
        f"part in the selection (the evaluation examples are the same): "
        f"{_described(confirmed, baseline)}."
    )


def _described(each: Candidate, baseline: str) -> str:
    return (
        f"log loss differs by {number(each.log_loss, _LOSS_DIGITS)}, relative PD is "
        f"{percent(each.relative_pd)}, {number(each.pd_ratio, 2)} times {baseline}'s, "
        f"{each.replicas} replicas"
    )


def _cell(interval: Interval, digits: int) -> str:
    return "" if math.isnan(interval.value) else number(interval, digits)
