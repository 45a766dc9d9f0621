"""``soloist search``: finds the value of a parameter with the smallest prediction difference."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from typer import Option

from analysis.atomic_files import write_whole
from distrib.trials.failures import raise_for
from distrib.trials.remote_results import results_at
from jobs.command import (
    ExperimentName,
    Overrides,
    PricePerCoreHour,
    PricePerGpuHour,
    PricesFile,
    check_output,
    run,
    say,
    terminal,
)
from jobs.costs import cost_report as bill
from jobs.costs.estimates import read_prices
from jobs.experiment.loading import load_experiment
from jobs.experiment.planning import open_click_log
from jobs.experiment.schema import Experiment
from jobs.tuning import messages as words
from jobs.tuning.arms import search_of
from jobs.tuning.policy import Candidate, Request, Verdict, begin
from jobs.tuning.training import CONFIRMATION, Trainings
from recsys.errors import ConfigError

#: Below the sweep's directory, whose trials a search shares.
PLACE = "search"
ANSWER = "search.json"


def search(
    experiment: ExperimentName,
    overrides: Overrides = None,
    output: Annotated[
        str | None,
        Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Where trials go, shared with a sweep into the same: a directory that all nodes "
            "reach, or a URI; the answer goes to DIR/search. [default: results/NAME]",
            show_default=False,
        ),
    ] = None,
    keep_weights: Annotated[
        bool,
        Option(
            "--keep-weights",
            help="Keep the weights of what the confirmation trains, the winner and the baseline, "
            "for soloist export.",
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        Option("--dry-run", help="Show what would be trained first and at most, and its cost."),
    ] = False,
    prices: PricesFile = None,
    price_per_core_hour: PricePerCoreHour = None,
    price_per_gpu_hour: PricePerGpuHour = None,
) -> None:
    """Find the value of a parameter with the smallest relative PD at a log loss that will do.

    The experiment's `search` says which arm and parameter, from where to where, and by how much
    (epsilon, in nats) the log loss may be worse than the baseline's. Values are tried in rounds,
    each closer to where the answer lies; replicas are added where intervals do not tell values
    apart. No finished trial is run again: after Ctrl-C or a crash the same command goes on, and
    gives the same answer. `soloist report DIR/search` tells more of all values tried.
    """
    priced = read_prices(prices, per_core_hour=price_per_core_hour, per_gpu_hour=price_per_gpu_hour)
    configured = load_experiment(experiment, overrides or ())
    if keep_weights and not search_of(configured).confirm:
        raise ConfigError(
            "--keep-weights: found search.confirm=0, expected some: the weights kept are those "
            "of the confirmation"
        )
    log = open_click_log(configured.data)
    with results_at(output or Path("results", configured.name), writes=not dry_run) as results:
        place = results.directory / PLACE
        trainings = Trainings(configured, log, results, place)
        first = begin(trainings.config, trainings.propose)
        if dry_run:
            _show_plan(trainings, first)
            bill.show("At most", trainings.estimated(priced, probe=True), priced)
            return
        check_output(results.directory)
        rows = trainings.estimated(priced)
        say(f"at most, finished trials included: {bill.planned_words(rows, priced)}")
        with trainings:
            verdict = trainings.until_verdict(first)
            confirmed = trainings.confirmation(verdict, keep_weights=keep_weights)
        took = bill.settle(place, trainings.trained(), rows, priced)
        told = words.answer(trainings.config, configured.baseline, verdict, confirmed)
        _write_answer(place, configured, verdict, confirmed, told)
        _show(trainings, verdict, told)
        say(bill.spent_words(took, priced))
        if keep_weights:
            model = configured.arms[trainings.config.arm].recipe.model.name
            say(words.exporting(trainings.config, confirmed, f"{results}/{CONFIRMATION}", model))
        raise_for(trainings.failures, trainings.asked)


def _show(trainings: Trainings, verdict: Verdict, told: list[str]) -> None:
    console = terminal()
    console.print(words.table(trainings.config, verdict))
    console.print("\n".join(told))


def _show_plan(trainings: Trainings, first: Request) -> None:
    config = trainings.config
    planned = trainings.planned(first)
    groups = trainings.missing(planned)
    values = ", ".join(f"{value:g}" for value, _ in first.replicas)
    say(f"round 1 of {config.rounds}: {config.parameter} of {config.arm} = {values}")
    trials = sum(len(group.trials) for group in groups)
    say(f"{trials} trials to train in {len(groups)} processes")


def _write_answer(
    place: Path,
    experiment: Experiment,
    verdict: Verdict,
    confirmed: Candidate | None,
    told: list[str],
) -> None:
    """Write ``search.json``: what was looked for, what was found, and all that was tried."""
    contents = {
        "experiment": experiment.name,
        "baseline": experiment.baseline,
        "search": search_of(experiment).model_dump(mode="json"),
        "outcome": verdict.outcome,
        "told": told,
        "best": None if verdict.best is None else asdict(verdict.best),
        "rivals": [each.value for each in verdict.rivals],
        "confirmed": None if confirmed is None else asdict(confirmed),
        "candidates": [asdict(each) for each in verdict.candidates],
    }
    text = json.dumps(_without_nan(contents), indent=2, allow_nan=False) + "\n"
    write_whole(place / ANSWER, lambda unfinished: unfinished.write_text(text, encoding="utf-8"))


def _without_nan(value: Any) -> Any:
    """Return a JSON value with null for NaN, which JSON has not."""
    if isinstance(value, dict):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and value != value else value


if __name__ == "__main__":
    run(search)
