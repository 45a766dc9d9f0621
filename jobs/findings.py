"""``python -m jobs.findings``: runs the shipped experiments that declare a study, and reports them.

They share one set of trials, so that an arm of several experiments is trained once.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from typer import Option
from vl_convert import vegalite_to_svg

from analysis.figures.render import themed
from analysis.figures.study import study_chart
from analysis.results.reading import SweepResults, read_sweep
from analysis.results.study import as_markdown, measure_study
from distrib.trials.failures import raise_for
from distrib.trials.grouping import Group, missing_groups
from jobs.command import check_output, echo, run, write_text
from jobs.experiment.loading import load_experiment
from jobs.experiment.planning import manifest, open_click_log, plan, write_manifest
from jobs.experiment.schema import Experiment
from jobs.experiments import shipped_experiments
from jobs.progress import train_groups

PREFACE = """# Findings

`make findings` runs the shipped experiments that declare a study, and writes this document from
the study section of their reports. Intervals are 95 %, over groups of examples and over replicas,
paired for comparisons of two arms, and not adjusted for the number of comparisons. p-values are
adjusted by Holm's method, separately for PD, log loss and the slopes of each study. PD is the
relative prediction difference, log loss is in nats. One small data set and one small network: the
results may not hold elsewhere.

"""


def findings(
    output: Annotated[
        Path, Option("--output", "-o", metavar="DIR", help="Directory for the trials and sweeps.")
    ] = Path("results/findings"),
    document: Annotated[
        Path,
        Option(metavar="FILE", help="Document to write; its figures go to a folder of that name."),
    ] = Path("docs/findings.md"),
) -> None:
    """Run the shipped experiments that declare a study, and write their study sections.

    Finished trials are never run again: after Ctrl-C or a crash, run the same command to continue.
    `soloist report DIR/NAME` reports one of the experiments.
    """
    loaded = {name: load_experiment(name) for name in shipped_experiments()}
    studies = {name: each for name, each in loaded.items() if each.study is not None}
    train_missing(output, studies)
    for path in write_document({name: read_sweep(output / name) for name in studies}, document):
        echo(path)


def train_missing(directory: Path, experiments: Mapping[str, Experiment]) -> None:
    """Write the manifest of each experiment to ``directory/NAME``, and train missing trials."""
    log = open_click_log(next(iter(experiments.values())).data)
    check_output(directory)
    requested = []
    for name, experiment in experiments.items():
        planned = plan(experiment, log)
        write_manifest(directory / name, manifest(experiment, planned, root=Path("..")))
        requested += [Group(title=f"{name}: {arm.title}", trials=arm.trials) for arm in planned]
    fuse = min(each.fuse for each in experiments.values())
    groups = missing_groups(directory, requested, fuse=fuse)
    trials = sum(len(group.trials) for group in groups)
    if groups:
        examples = sum(group.examples(log) for group in groups)
        echo(f"{len(experiments)} experiments: {trials} trials to train, {examples:,} examples")
    stall_s = max(each.stall_s for each in experiments.values())
    failures = train_groups(log, directory, groups, stall_s=stall_s)
    raise_for(failures, trials)


def write_document(sweeps: Mapping[str, SweepResults], path: Path) -> list[Path]:
    """Write the study sections of sweeps and their figures; return the paths."""
    sections, written = [], []
    for name, sweep in sweeps.items():
        study = measure_study(sweep)
        chart = study and study_chart(study)
        if study and chart:
            svg = vegalite_to_svg(themed(chart))
            written.append(write_text(path.with_suffix("") / f"{name}.svg", svg))
            command = f"soloist sweep {name} --output results/{name}"
            figure = f"{path.stem}/{name}.svg"
            sections.append(as_markdown(study, figure=figure, command=command))
    text = PREFACE + "\n\n".join(sections) + "\n"
    return [write_text(path, text), *written]


if __name__ == "__main__":
    run(findings)
