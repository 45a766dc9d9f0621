"""``soloist train``: trains one replica of one arm in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from typer import Option

from distrib.engines import registry as engines
from distrib.scheduling.status import Status
from distrib.trials.grouping import Group
from distrib.trials.results import write_trial
from jobs.command import ExperimentName, KeepWeights, Overrides, Record, check_output, echo, run
from jobs.experiment.documents import unknown
from jobs.experiment.loading import load_experiment
from jobs.experiment.planning import open_click_log, plan, recorded
from jobs.progress import Display
from recsys.data.click_log import ClickLog
from recsys.errors import ConfigError


def train(
    experiment: ExperimentName,
    arm: Annotated[str, Option("--arm", metavar="NAME", help="Arm of the experiment.")],
    overrides: Overrides = None,
    replica: Annotated[
        int, Option("--replica", min=0, help="Replica: sets the same seeds as in a sweep.")
    ] = 0,
    output: Annotated[
        Path | None,
        Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Write the trial to DIR/trials, where a sweep into DIR finds it.",
        ),
    ] = None,
    keep_weights: KeepWeights = False,
    record: Record = False,
) -> None:
    """Train one replica of an arm in this process and print its metrics.

    The quickest way to try, profile or debug an arm. Prediction difference needs several replicas:
    soloist sweep.
    """
    configured = load_experiment(experiment, overrides or ())
    if arm not in configured.arms:
        raise unknown(f"--arm {arm}", arm, list(configured.arms))
    if record:
        configured = recorded(configured, [arm])
    log = open_click_log(configured.data)
    planned = next(each for each in plan(configured, log) if each.name == arm)
    if replica >= len(planned.trials):
        raise ConfigError(
            f"--replica: found {replica}, expected less than the arm's {len(planned.trials)}"
        )
    if output is not None:
        check_output(output)
    elif keep_weights or record:
        option = "--keep-weights" if keep_weights else "--record"
        raise ConfigError(f"{option}: found no --output, expected a directory to write to")
    trial = planned.trials[replica]
    with Display() as display:
        on_progress = _advance(display, Group(title=arm, trials=(trial,)), log)
        (result,) = engines.train(log, [trial], on_progress=on_progress, directory=output)
    if output is not None:
        echo(write_trial(output, trial, result, keep_weights=keep_weights))
    for name, value in {**result.metrics, **result.cost.as_dict()}.items():
        echo(f"{name:28} {value:.6g}")


def _advance(display: Display, group: Group, log: ClickLog) -> Callable[[int], None]:
    """Return a callback that adds examples to the displayed progress of one trial."""
    total, work = group.examples(log), group.work(log)
    done = 0

    def advance(examples: int) -> None:
        nonlocal done
        done += examples
        ended = int(done == total)
        display(
            Status(
                trials_done=ended,
                trials_failed=0,
                trials=1,
                examples_done=done,
                work_done=work * done / total,
                work=work,
            )
        )

    return advance


if __name__ == "__main__":
    run(train)
