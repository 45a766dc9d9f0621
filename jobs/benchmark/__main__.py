"""``python -m jobs.benchmark NAME`` runs the function NAME of the module jobs.benchmark.NAME."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import typer

import jobs.benchmark
from jobs.command import FORWARDED, STYLE, run

_HELP = """Measure Soloist itself, beside something else in the same run wherever it can be.

`soloist benchmark NAME --help` tells what one measures, and how.
"""


def names() -> list[str]:
    """Return the benchmarks there are."""
    return sorted(
        module.name
        for module in iter_modules(jobs.benchmark.__path__)
        if not module.name.startswith("_")
    )


def benchmark(arguments: list[str], program: str) -> None:
    """Import the benchmark that the arguments name, that one alone, and run it."""
    app = typer.Typer(help=_HELP, no_args_is_help=True, **STYLE)
    app.callback()(lambda: None)
    for name in names():
        app.command(name, help=_subject(name), context_settings=FORWARDED)(_forward(name, program))
    app(args=arguments, prog_name=program)


def _subject(name: str) -> str:
    """Return what a benchmark measures, in its module's own words, without importing it."""
    source = Path(*jobs.benchmark.__path__, f"{name}.py").read_text(encoding="utf-8")
    told = ast.get_docstring(ast.parse(source)) or ""
    return told.partition("\n\n")[0].replace("``", "`")


def _forward(name: str, program: str) -> Callable[[typer.Context], None]:
    def command(context: typer.Context) -> None:
        function = getattr(import_module(f"jobs.benchmark.{name}"), name)
        run(function, arguments=context.args, program=f"{program} {name}")

    return command


if __name__ == "__main__":
    benchmark(sys.argv[1:], program="python -m jobs.benchmark")
