"""``python -m jobs.findings``: the paper's conditions on MovieLens, measured and written down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Option

from analysis.findings.document import FINDERS, write_document
from analysis.results import read_sweep
from distrib.failures import raise_for
from distrib.groups import Group, missing_groups
from distrib.runner import run_groups
from distrib.session import ray_session, terminated_like_interrupted
from jobs.command import run, say
from jobs.display import Display
from jobs.experiment import Experiment
from jobs.loading import load_experiment
from jobs.planning import PlannedArm, manifest, open_click_log, plan, write_manifest


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """An experiment and what it asks to be trained."""

    experiment: Experiment
    arms: Sequence[PlannedArm]


def findings(
    output: Annotated[
        Path, Option("--output", "-o", metavar="DIR", help="Where the trials and sweeps go.")
    ] = Path("results/findings"),
    document: Annotated[
        Path,
        Option(metavar="FILE", help="Where the findings go; their figures, to a folder beside it."),
    ] = Path("docs/findings.md"),
) -> None:
    """Train the shipped experiments on the paper's conditions, and write down what they found.

    All share one set of trials, so what several have in common is trained once; a finished trial
    is never run again. `soloist report DIR/NAME` prints the whole table of one of them.
    """
    train_missing(output)
    sweeps = {name: read_sweep(output / name) for name in FINDERS}
    for path in write_document(sweeps, document):
        say(path)


def train_missing(directory: Path) -> None:
    """Run all experiments as one sweep, and write a manifest of each to ``directory/NAME``."""
    experiments = [load_experiment(name) for name in FINDERS]
    log = open_click_log(experiments[0].data)
    studies = [Study(experiment=each, arms=plan(each, log)) for each in experiments]
    for each in studies:
        contents = manifest(each.experiment, each.arms, root=Path(".."))
        write_manifest(directory / each.experiment.name, contents)
    asked = [Group(title=arm.title, trials=arm.trials) for each in studies for arm in each.arms]
    fuse = min(each.fuse for each in experiments)
    groups = missing_groups(directory, asked, fuse=fuse)
    if not groups:
        return
    with Display() as display, ray_session(), terminated_like_interrupted():
        failures = run_groups(log, directory, groups, observe=display)
    raise_for(failures, sum(len(group.trials) for group in groups))


if __name__ == "__main__":
    run(findings)
