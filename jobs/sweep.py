"""``soloist sweep``: trains every replica of every arm, and prints the trade-off table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.table import Table

from analysis.results.reading import read_sweep
from distrib.trials.failures import raise_for
from distrib.trials.grouping import Group, missing_groups
from distrib.trials.remote_results import results_at
from distrib.trials.results import is_done
from jobs import costs
from jobs.command import (
    DryRun,
    ExperimentName,
    KeepWeights,
    Output,
    Overrides,
    PricePerCoreHour,
    PricePerGpuHour,
    PricesFile,
    Record,
    check_output,
    echo,
    run,
    terminal,
)
from jobs.experiment.loading import load_experiment
from jobs.experiment.planning import (
    PlannedArm,
    manifest,
    open_click_log,
    plan,
    recorded,
    write_manifest,
    write_slices,
)
from jobs.progress import sweep_rows, train_groups
from jobs.report import make_report


def sweep(  # noqa: PLR0913, PLR0917 - each is an option of the command line
    experiment: ExperimentName,
    overrides: Overrides = None,
    output: Output = None,
    keep_weights: KeepWeights = False,
    record: Record = False,
    dry_run: DryRun = False,
    prices: PricesFile = None,
    price_per_core_hour: PricePerCoreHour = None,
    price_per_gpu_hour: PricePerGpuHour = None,
) -> None:
    """Train all replicas of all arms of an experiment, and print the trade-off table.

    Trials run on Ray: on the cluster at RAY_ADDRESS, or on this machine. Finished trials are never
    run again: after Ctrl-C, a crash or a change to an arm, the same command trains only what is
    missing. A failed trial leaves error.txt in its directory and does not stop the others; the
    command then lists the failures and exits with status 1.

    The command estimates the cost before training and prints the actual cost at the end: lookups,
    core-hours and GPU-hours, and money if prices are known. Estimates of hours come from finished
    trials of the same shape. Other shapes are measured on a few batches, on Ray, with --dry-run or
    if a price is known.
    """
    priced = costs.read_prices(
        prices, per_core_hour=price_per_core_hour, per_gpu_hour=price_per_gpu_hour
    )
    configured = load_experiment(experiment, overrides or ())
    if record:
        configured = recorded(configured, configured.arms)
    if configured.search is not None:
        echo("search: ignored by a sweep, which trains the arms as they are; run soloist search")
    log = open_click_log(configured.data)
    planned = plan(configured, log)
    with results_at(output or Path("results", configured.name), writes=not dry_run) as results:
        directory = results.directory
        groups = missing_groups(
            directory,
            (Group(title=arm.title, trials=arm.trials) for arm in planned),
            fuse=configured.fuse,
            weights=keep_weights,
        )
        trials = sum(len(group.trials) for group in groups)
        if dry_run:
            terminal().print(_plan_table(planned, directory, weights=keep_weights))
            echo(f"{trials} trials to train in {len(groups)} processes, into {results}")
            if groups:
                rows = costs.estimated_costs(log, directory, groups, priced, probe=True)
                costs.print_costs("Estimate", rows, priced)
            return
        check_output(directory)
        evaluation = planned[0].recipe.evaluation
        write_slices(directory, log, evaluation.split, configured.data.item)
        write_manifest(directory, manifest(configured, planned))
        rows = costs.estimated_costs(log, directory, groups, priced)
        costs.write_costs(directory, sweep_rows(read_sweep(directory)), rows, priced)
        results.send()
        if groups:
            echo(costs.estimate_summary(rows, priced))
        failures = train_groups(
            log,
            directory,
            groups,
            keep_weights=keep_weights,
            stall_s=configured.stall_s,
            uri=results.uri,
        )
        actual = costs.write_costs(directory, sweep_rows(read_sweep(directory)), rows, priced)
        if any(is_done(directory, trial) for arm in planned for trial in arm.trials):
            verdict = make_report(results)
            echo(costs.actual_summary(actual, priced))
            echo(verdict)
        raise_for(failures, trials)


def _plan_table(planned: Sequence[PlannedArm], directory: Path, *, weights: bool) -> Table:
    table = Table("arm", "kind", "activation", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("components", "done"):
        table.add_column(column, justify="right")
    for arm in planned:
        done = sum(is_done(directory, trial, weights=weights) for trial in arm.trials)
        config = arm.recipe.arm
        table.add_row(
            arm.title,
            config.kind,
            config.activation,
            str(config.components),
            f"{done}/{len(arm.trials)}",
        )
    return table


if __name__ == "__main__":
    run(sweep)
