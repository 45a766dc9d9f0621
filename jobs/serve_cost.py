"""``soloist serve-cost``: latency, throughput and lookups of the served models of several arms."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich import box
from rich.table import Table
from typer import Option

from distrib.trials.results import machine
from jobs.command import Models, ReplicaNumber, Trust, check_file, echo, run, terminal, write_text
from jobs.export import export_trial
from jobs.trial_lookup import Consent, trial_at
from recsys.data.click_log import ClickLog
from recsys.errors import ConfigError, DataError
from recsys.files import expecting
from recsys.serving.loader import DESCRIPTION, ServedModel, load
from recsys.serving.timing import ServingCost, side_by_side


@dataclass(frozen=True, kw_only=True, slots=True)
class _Program:
    """A loaded program, the path or URI that it comes from, and its name for output."""

    path: str
    name: str
    model: ServedModel


@dataclass(frozen=True, kw_only=True, slots=True)
class _Measurement:
    """The costs of a program at each batch size; fields are those of the JSON output."""

    path: str
    name: str
    title: str
    costs: list[ServingCost]


def serve_cost(  # noqa: PLR0913, PLR0917 - each is an option of the command line
    trials: Annotated[
        list[str],
        typer.Argument(
            metavar="TRIAL...",
            help="Directories or URIs of trials with weights, or of exported programs; of sweeps "
            "with --arm. The first is the reference of ratios.",
        ),
    ],
    data: Annotated[Path, Option("--data", metavar="DIR", help="Click log for the requests.")],
    arm: Annotated[
        list[str] | None,
        Option("--arm", metavar="NAME", help="Arm of each sweep to measure. Can be repeated."),
    ] = None,
    replica: ReplicaNumber = None,
    batch: Annotated[
        list[int] | None,
        Option(min=1, help="Examples in a request. Can be repeated. [default: 1, 32, 512]"),
    ] = None,
    requests: Annotated[int, Option(min=1, help="Requests of each batch size.")] = 500,
    threads: Annotated[int, Option(min=1, help="CPU threads.")] = 1,
    output: Annotated[
        Path | None, Option("--json", metavar="FILE", help="JSON file for the measurements.")
    ] = None,
    model: Models = None,
    trust: Trust = False,
) -> None:
    """Measure latency, examples/s and embedding lookups of several served models on the CPU.

    All models serve the same requests in turn, as exported programs. Requests contain examples of
    the test split. A time ratio is the median over requests of a model's time to the first
    model's.
    """
    if output is not None:
        check_file(output, "--json")
    log = ClickLog.open(data)
    rows = np.asarray(log.splits["test"], np.int64)
    if not len(rows):
        raise ConfigError(f"{data}: split test has no examples; expected some")
    arms: Sequence[str | None] = arm or (None,)
    consent = Consent(models=model or (), trust=trust)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        programs = [_program(place, each, replica, consent) for place in trials for each in arms]
        for each in programs:
            if each.model.description.schema != log.schema:
                raise DataError(f"{data}: found other features than those of {each.path}")
        with expecting("programs that serve these requests", ", ".join(trials)):
            measured = _measure(programs, log, rows, batch or [1, 32, 512], requests)
    finally:
        torch.set_num_threads(before)
    processor = machine(torch.device("cpu"))
    record = {
        "machine": processor,
        "torch": torch.__version__,
        "threads": threads,
        "data": str(data),
        "requests": requests,
        "arms": [asdict(each) for each in measured],
    }
    console = terminal()
    console.print(_table(measured))
    echo(
        f"{processor['processor']}, {processor['cpu_capability']}, {threads} thread(s), "
        f"PyTorch {torch.__version__}; {requests} requests of each size; [quartiles over requests]"
    )
    if output is not None:
        write_text(output, json.dumps(record, indent=2) + "\n")


def _program(place: str, arm: str | None, replica: int | None, consent: Consent) -> _Program:
    """Load an exported program, or export a trial and load that."""
    if arm is None and replica is None and Path(place, DESCRIPTION).exists():
        return _Program(path=place, name=Path(place).resolve().name, model=load(place))
    with trial_at(place, arm, replica) as named, tempfile.TemporaryDirectory() as scratch:
        export_trial(named, Path(scratch, "program"), consent)
        model = load(Path(scratch, "program"))
        return _Program(path=named.place, name=named.title, model=model)


def _measure(
    programs: Sequence[_Program],
    log: ClickLog,
    rows: np.ndarray,
    batches: Sequence[int],
    requests: int,
) -> list[_Measurement]:
    models = [each.model for each in programs]
    sizes = [
        side_by_side(models, log, rows, batch_size=size, requests=requests) for size in batches
    ]
    return [
        _Measurement(
            path=each.path, name=each.name, title=each.model.description.title, costs=list(costs)
        )
        for each, costs in zip(programs, zip(*sizes, strict=True), strict=True)
    ]


def _table(measured: Sequence[_Measurement]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("batch", justify="right", no_wrap=True)
    table.add_column("arm", no_wrap=True)
    for column in ("p50 µs", "p99 µs", "examples/s", "time ratio", "lookups", "lookups ratio"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("trial", overflow="ellipsis", no_wrap=True)
    for costs in zip(*(each.costs for each in measured), strict=True):
        for each, cost in zip(measured, costs, strict=True):
            table.add_row(
                str(cost.batch_size),
                each.title,
                f"{cost.p50_us:,.0f}",
                f"{cost.p99_us:,.0f}",
                f"{cost.examples_per_second:,.0f}",
                f"{cost.ratio:.2f} [{cost.ratio_low:.2f}, {cost.ratio_high:.2f}]",
                f"{cost.lookups:.1f}",
                f"{cost.lookups / costs[0].lookups:.2f}",
                each.name,
            )
        table.add_section()
    return table


if __name__ == "__main__":
    run(serve_cost)
