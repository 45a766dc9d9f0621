"""``soloist search``: finds the parameter value with the lowest prediction difference."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from typer import Option

from distrib.trials.failures import raise_for
from distrib.trials.remote_results import results_at
from jobs import costs
from jobs.command import (
    DryRun,
    ExperimentName,
    Output,
    Overrides,
    PricePerCoreHour,
    PricePerGpuHour,
    PricesFile,
    check_output,
    echo,
    run,
    terminal,
    write_text,
)
from jobs.experiment.loading import load_experiment
from jobs.experiment.planning import open_click_log
from jobs.experiment.schema import Experiment
from jobs.tuning import messages
from jobs.tuning.policy import Candidate, Request, Verdict, begin, search_of
from jobs.tuning.training import CONFIRMATION, SearchRunner
from recsys.errors import ConfigError

FOLDER = "search"
"""Folder of the search in the sweep's directory, whose trials it shares"""
ANSWER = "search.json"


def search(
    experiment: ExperimentName,
    overrides: Overrides = None,
    output: Output = None,
    keep_weights: Annotated[
        bool,
        Option(
            "--keep-weights",
            help="Keep the weights of the confirmation's trials (the winner and the baseline), "
            "for soloist export.",
        ),
    ] = False,
    dry_run: DryRun = False,
    prices: PricesFile = None,
    price_per_core_hour: PricePerCoreHour = None,
    price_per_gpu_hour: PricePerGpuHour = None,
) -> None:
    """Find the parameter value with the lowest relative PD within a log loss tolerance.

    The experiment's `search` section sets the arm, the parameter, its range, and the tolerance:
    how much higher (epsilon, in nats) the log loss may be than the baseline's. The search tries
    values in rounds, in a narrower range each time, and adds replicas while differences are not
    significant. Finished trials are never run again: after Ctrl-C or a crash, run the same command
    to continue; it gives the same result.

    Trials go to DIR, where a sweep shares them, and the result to DIR/search. `soloist report
    DIR/search` reports all values tried.
    """
    priced = costs.read_prices(
        prices, per_core_hour=price_per_core_hour, per_gpu_hour=price_per_gpu_hour
    )
    configured = load_experiment(experiment, overrides or ())
    if keep_weights and not search_of(configured).confirm:
        raise ConfigError(
            "--keep-weights: found search.confirm=0, expected more: only the weights of the "
            "confirmation are kept"
        )
    log = open_click_log(configured.data)
    with results_at(output or Path("results", configured.name), writes=not dry_run) as results:
        place = results.directory / FOLDER
        runner = SearchRunner(configured, log, results, place)
        first = begin(runner.config, runner.propose)
        if dry_run:
            _print_plan(runner, first)
            costs.print_costs("At most", runner.estimated_costs(priced, probe=True), priced)
            return
        check_output(results.directory)
        rows = runner.estimated_costs(priced)
        echo(f"at most, finished trials included: {costs.estimate_summary(rows, priced)}")
        with runner:
            verdict = runner.until_verdict(first)
            confirmed = runner.confirmation(verdict, keep_weights=keep_weights)
        actual = costs.write_costs(place, runner.trained(), rows, priced)
        sentences = messages.answer(runner.config, configured.baseline, verdict, confirmed)
        _write_answer(place, configured, verdict, confirmed, sentences)
        console = terminal()
        console.print(messages.table(runner.config, verdict))
        console.print("\n".join(sentences))
        echo(costs.actual_summary(actual, priced))
        if keep_weights:
            model = configured.arms[runner.config.arm].recipe.model.name
            place_of_weights = f"{results}/{CONFIRMATION}"
            echo(messages.exporting(runner.config, confirmed, place_of_weights, model))
        raise_for(runner.failures, runner.trials)


def _print_plan(runner: SearchRunner, first: Request) -> None:
    config = runner.config
    groups = runner.missing(runner.planned(first))
    values = ", ".join(f"{value:g}" for value, _ in first.replicas)
    echo(f"round 1 of {config.rounds}: {config.parameter} of {config.arm} = {values}")
    trials = sum(len(group.trials) for group in groups)
    echo(f"{trials} trials to train in {len(groups)} processes")


def _write_answer(
    place: Path,
    experiment: Experiment,
    verdict: Verdict,
    confirmed: Candidate | None,
    sentences: list[str],
) -> None:
    """Write ``search.json``: the configuration, the result and all candidates."""
    contents = {
        "experiment": experiment.name,
        "baseline": experiment.baseline,
        "search": search_of(experiment).model_dump(mode="json"),
        "outcome": verdict.outcome,
        "told": sentences,
        "best": None if verdict.best is None else asdict(verdict.best),
        "rivals": [each.value for each in verdict.rivals],
        "confirmed": None if confirmed is None else asdict(confirmed),
        "candidates": [asdict(each) for each in verdict.candidates],
    }
    text = json.dumps(_without_nan(contents), indent=2, allow_nan=False) + "\n"
    write_text(place / ANSWER, text)


def _without_nan(value: Any) -> Any:
    """Return a JSON value with null in place of NaN."""
    if isinstance(value, dict):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and value != value else value


if __name__ == "__main__":
    run(search)
