"""``soloist``: all jobs under one name. Only the job that is asked for is imported."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import typer

from jobs.command import FORWARDED, STYLE, run

JOBS = {
    "prepare": "Turn a data set (Criteo, MovieLens, Frappe, any CSV or Parquet) into a click log.",
    "train": "Train one replica of one arm here, and print what it achieves.",
    "sweep": "Train all replicas of all arms on Ray, and print the trade-off table.",
    "search": "Find the value of a parameter with the smallest PD at a log loss that will do.",
    "replay": "Train a recorded trial again in the same order, and prove that it is the same.",
    "watch": "Show live how far a running sweep is, with the table so far.",
    "export": "Write what a trial serves as a program that needs PyTorch alone.",
    "serve-cost": "Measure latency, examples/s and lookups of several served arms in one run.",
    "report": "Make table and figures of a sweep's directory again.",
    "compare": "Compare prediction files of any system: prediction difference and accuracy.",
}

BENCHMARK = "Measure Soloist itself: speed, memory, and whether its intervals hold."

_HELP = """One smooth model instead of an ensemble?

Soloist trains every candidate ("arm") of a sparse recommender several times under controlled
irreproducibility, and prints one table: accuracy, prediction difference, and cost in embedding
lookups, with confidence intervals.

First steps:

- `soloist prepare movielens --output data/movielens-100k`
- `soloist sweep movielens --output results/movielens`

Every job also runs as `python -m jobs.NAME`, and so under `ray job submit`.
"""

_PLUGGED_IN = "soloist.commands"
"""Entry points of packages that launch jobs: a function of arguments and the program's name."""


def main() -> None:
    """Run the job that the command line names."""
    _find_modules_here()
    app = typer.Typer(help=_HELP, no_args_is_help=True, **STYLE)
    app.callback()(lambda: None)
    for name, summary in JOBS.items():
        app.command(name, help=summary, context_settings=FORWARDED)(_forward(name))
    app.command("benchmark", help=BENCHMARK, context_settings=FORWARDED)(_benchmark)
    for point in entry_points(group=_PLUGGED_IN):
        plugged_in = point.load()
        app.command(point.name, help=plugged_in.__doc__, context_settings=FORWARDED)(
            _call(plugged_in, point.name)
        )
    app(prog_name="soloist")


def _find_modules_here() -> None:
    """Let a user's own models be imported from the working directory, as ``python -m`` does.

    An installed script has its own directory there instead. Ray's workers get the working
    directory of the process that started them from Ray.
    """
    here = str(Path.cwd())
    if not sys.flags.safe_path and sys.path[:1] != [here]:
        sys.path.insert(0, here)


def job_named(name: str) -> Callable[..., object]:
    """Return the function of a job, whose module is imported for it."""
    function = name.replace("-", "_")
    job: Callable[..., object] = getattr(import_module(f"jobs.{function}"), function)
    return job


def _forward(name: str) -> Callable[[typer.Context], None]:
    def command(context: typer.Context) -> None:
        run(job_named(name), arguments=context.args, program=f"soloist {name}")

    return command


def _call(plugged_in: Callable[..., None], name: str) -> Callable[[typer.Context], None]:
    def command(context: typer.Context) -> None:
        plugged_in(context.args, program=f"soloist {name}")

    return command


def _benchmark(context: typer.Context) -> None:
    from jobs.benchmark.__main__ import benchmark

    benchmark(context.args, program="soloist benchmark")


if __name__ == "__main__":
    main()
