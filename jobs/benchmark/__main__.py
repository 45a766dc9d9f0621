"""``python -m jobs.benchmark NAME`` runs the function NAME of the module jobs.benchmark.NAME."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module

import typer

from jobs.command import FORWARDED, STYLE, run

BENCHMARKS = {
    "activations": "Forward and backward time of each activation, compared with ReLU.",
    "compare": "Time and peak memory of `soloist compare` on many rows.",
    "coverage": "How often nominal 95 % intervals contain the true value, on simulated studies.",
    "engines": "Async engine compared with the local one: speed, workers per store, recovery.",
    "gpu": "Soloist on a GPU: compared with a plain TorchRec loop, fused, by activation, by part.",
    "peers": "Soloist compared with other trainers, on the same examples and the same model.",
    "prepare": "Rows per second and peak memory of preparing Criteo's logs.",
}

_HELP = """Measure Soloist itself, in alternation with a reference wherever there is one.

`soloist benchmark NAME --help` says what a benchmark measures, and how.
"""


def benchmark(arguments: list[str], program: str) -> None:
    """Import only the benchmark that the arguments name, and run it."""
    app = typer.Typer(help=_HELP, no_args_is_help=True, **STYLE)
    app.callback()(lambda: None)
    for name, summary in BENCHMARKS.items():
        app.command(name, help=summary, context_settings=FORWARDED)(_forward(name, program))
    app(args=arguments, prog_name=program)


def _forward(name: str, program: str) -> Callable[[typer.Context], None]:
    def command(context: typer.Context) -> None:
        function = getattr(import_module(f"jobs.benchmark.{name}"), name)
        run(function, arguments=context.args, program=f"{program} {name}")

    return command


if __name__ == "__main__":
    benchmark(sys.argv[1:], program="python -m jobs.benchmark")
