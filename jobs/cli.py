"""The ``soloist`` command, which imports the module of a job only to run it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from typing import Annotated

import typer

from jobs.command import FAILED, FORWARDED, STYLE, run
from recsys import __version__

JOBS = {
    "prepare": "Convert a data set (Criteo, MovieLens, Frappe, any CSV or Parquet) to a click log.",
    "init": "Write a commented experiment for a click log.",
    "train": "Train one replica of one arm in this process and print its metrics.",
    "sweep": "Train all replicas of all arms on Ray and print the trade-off table.",
    "search": "Find the parameter value with the lowest PD within a log loss tolerance.",
    "replay": "Train a recorded trial again and check that it is bitwise identical.",
    "watch": "Show the progress of a running sweep, with the table so far.",
    "export": "Export a trial's served model as a program that needs only PyTorch.",
    "serve-cost": "Measure latency, throughput and lookups of the served models of several arms.",
    "report": "Write the table, the figures and the page of a sweep.",
    "compare": "Compare prediction files of any system: prediction difference and accuracy.",
}

BENCHMARK = "Measure Soloist itself: speed, memory and the coverage of its intervals."

_HELP = """Compare single models with ensembles: accuracy, reproducibility and cost.

Soloist trains every candidate ("arm") of a sparse recommender several times under controlled
irreproducibility. It prints one table of accuracy, prediction difference (PD) and embedding
lookups, with confidence intervals.

First steps:

- `soloist prepare movielens --output data/movielens-100k`
- `soloist sweep movielens --output results/movielens`

With your own click log:

- `soloist init data/clicks --output clicks.yaml`
- `soloist sweep clicks.yaml --output results/clicks`

Every job also runs as `python -m jobs.NAME`, also under `ray job submit`.
"""

_PLUGINS = "soloist.commands"
"""Entry point group of further commands: functions of arguments and program name"""
_NOT_REQUIRED = ("torchrec", "fbgemm_gpu")
_INSTALL = (
    "on a CPU run make setup, or: pip install --no-deps torchrec==1.8.0 fbgemm-gpu-cpu==1.8.0; "
    "with CUDA: pip install 'soloist[cuda]'"
)
"""TorchRec depends on FBGEMM's CUDA build, which fails to load without CUDA."""


def main() -> None:
    """Run the job that the command line names."""
    app = typer.Typer(help=_HELP, no_args_is_help=True, **STYLE)
    app.callback()(_global_options)
    for name, summary in JOBS.items():
        app.command(name, help=summary, context_settings=FORWARDED)(_forward(name))
    app.command("benchmark", help=BENCHMARK, context_settings=FORWARDED)(
        _call(_benchmark, "benchmark")
    )
    for point in entry_points(group=_PLUGINS):
        plugin = point.load()
        app.command(point.name, help=plugin.__doc__, context_settings=FORWARDED)(
            _call(plugin, point.name)
        )
    app(prog_name="soloist")


def _print_version(is_set: bool) -> None:
    if is_set:
        print(f"soloist {__version__}")
        raise typer.Exit


def _global_options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Accept the options of ``soloist`` itself."""


def job_named(name: str) -> Callable[..., object]:
    """Import the module of a job and return its function."""
    function = name.replace("-", "_")
    job: Callable[..., object] = getattr(import_module(f"jobs.{function}"), function)
    return job


def _forward(name: str) -> Callable[[typer.Context], None]:
    def command(context: typer.Context) -> None:
        try:
            job = job_named(name)
        except (ModuleNotFoundError, OSError) as error:
            missing = (getattr(error, "name", None) or "").partition(".")[0]
            if isinstance(error, ModuleNotFoundError) and missing not in _NOT_REQUIRED:
                raise
            problem = (
                f"{missing} is not installed" if missing else f"a library fails to load: {error}"
            )
            print(f"soloist: {problem}; {_INSTALL}", file=sys.stderr)
            raise SystemExit(FAILED) from None
        run(job, arguments=context.args, program=f"soloist {name}")

    return command


def _call(plugin: Callable[..., None], name: str) -> Callable[[typer.Context], None]:
    def command(context: typer.Context) -> None:
        plugin(context.args, program=f"soloist {name}")

    return command


def _benchmark(arguments: list[str], *, program: str) -> None:
    from jobs.benchmark.__main__ import benchmark

    benchmark(arguments, program=program)


if __name__ == "__main__":
    main()
