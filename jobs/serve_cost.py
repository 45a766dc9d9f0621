"""``soloist serve-cost``: what answering requests costs, of several arms in one run."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich import box
from rich.table import Table
from typer import Option

from analysis.atomic_files import write_whole
from distrib.trials.results import machine
from jobs.command import Models, OfReplica, Trust, check_file, run, say, terminal
from jobs.export import export_trial
from jobs.trial_lookup import Consent, trial_at
from recsys.data.click_log import ClickLog
from recsys.errors import ConfigError, DataError
from recsys.files import expecting
from recsys.serving.loader import DESCRIPTION, ServedModel, load
from recsys.serving.timing import ServingCost, side_by_side


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """A loaded program, where it comes from, and what a person calls it."""

    path: str
    name: str
    model: ServedModel


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """A model and what it costs at each batch size; ``name`` is the trial's, or arm and replica."""

    path: str
    name: str
    title: str
    costs: list[ServingCost]


def serve_cost(  # noqa: PLR0913, PLR0917 - each is an option of the command line
    trials: Annotated[
        list[str],
        typer.Argument(
            metavar="TRIAL...",
            help="Trials with weights, by directory or URI, or what soloist export wrote of them; "
            "or a sweep, with --arm. All are compared with the first.",
        ),
    ],
    data: Annotated[
        Path, Option("--data", metavar="DIR", help="The click log whose examples are asked about.")
    ],
    arm: Annotated[
        list[str] | None,
        Option(
            "--arm",
            metavar="NAME",
            help="Of each sweep named, the arms to measure; repeat it.",
            show_default=False,
        ),
    ] = None,
    replica: OfReplica = None,
    batch: Annotated[
        list[int] | None,
        Option("--batch", min=1, help="Examples of a request; repeat it. [default: 1, 32, 512]"),
    ] = None,
    requests: Annotated[int, Option("--requests", min=1, help="Of each batch size.")] = 500,
    threads: Annotated[int, Option("--threads", min=1, help="CPU threads.")] = 1,
    output: Annotated[
        Path | None,
        Option("--json", metavar="FILE", help="Write the figures there too.", show_default=False),
    ] = None,
    model: Models = None,
    trust: Trust = False,
) -> None:
    """Measure latency, examples/s and embedding lookups of several arms, in one run on the CPU.

    All answer the same requests in turns, made of examples of the test split, as exported programs;
    the lookups are counted in these requests. A ratio is the median, over the requests, of an arm's
    time to the first arm's.
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
        served = [_served(place, each, replica, consent) for place in trials for each in arms]
        for each in served:
            if each.model.description.schema != log.schema:
                raise DataError(f"{data}: has not the features that {each.path} takes")
        with expecting("programs that answer its requests", ", ".join(trials)):
            measured = _measure(served, log, rows, batch or [1, 32, 512], requests)
    finally:
        torch.set_num_threads(before)
    told = _record(measured, data, requests, threads)
    console = terminal()
    console.print(_table(measured))
    say(_where(told))
    if output is not None:
        text = json.dumps(told, indent=2) + "\n"
        write_whole(output, lambda unfinished: unfinished.write_text(text, encoding="utf-8"))


def _served(place: str, arm: str | None, replica: int | None, consent: Consent) -> Served:
    """Return an exported program, or the one that a trial's weights make."""
    if arm is None and replica is None and Path(place, DESCRIPTION).exists():
        return Served(path=place, name=Path(place).resolve().name, model=load(place))
    with trial_at(place, arm, replica) as named, tempfile.TemporaryDirectory() as scratch:
        export_trial(named, Path(scratch, "program"), consent)
        model = load(Path(scratch, "program"))
        return Served(path=named.place, name=named.title, model=model)


def _measure(
    served: Sequence[Served],
    log: ClickLog,
    rows: np.ndarray,
    batches: Sequence[int],
    requests: int,
) -> list[Measured]:
    models = [each.model for each in served]
    sizes = [
        side_by_side(models, log, rows, batch_size=size, requests=requests) for size in batches
    ]
    return [
        Measured(
            path=each.path, name=each.name, title=each.model.description.title, costs=list(costs)
        )
        for each, costs in zip(served, zip(*sizes, strict=True), strict=True)
    ]


def _record(
    measured: Sequence[Measured], data: Path, requests: int, threads: int
) -> dict[str, Any]:
    return {
        "machine": machine(torch.device("cpu")),
        "torch": torch.__version__,
        "threads": threads,
        "data": str(data),
        "requests": requests,
        "arms": [asdict(each) for each in measured],
    }


def _table(measured: Sequence[Measured]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("batch", justify="right", no_wrap=True)
    table.add_column("arm", no_wrap=True)
    for column in ("p50 µs", "p99 µs", "examples/s", "time ÷ first", "lookups", "÷ first"):
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


def _where(told: dict[str, Any]) -> str:
    """Return where the figures were measured, in one line."""
    computer = told["machine"]
    return (
        f"{computer['processor']}, {computer['cpu_capability']}, {told['threads']} thread(s), "
        f"PyTorch {told['torch']}; {told['requests']} requests of each size; "
        "[quartiles over requests]"
    )


if __name__ == "__main__":
    run(serve_cost)
