"""``python -m jobs.benchmark NAME`` runs the function NAME of the module jobs.benchmark.NAME."""

from __future__ import annotations

import sys
from importlib import import_module
from pkgutil import iter_modules

import typer

import jobs.benchmark
from jobs.command import BAD_INPUT, guarded


def names() -> list[str]:
    """Return the benchmarks there are."""
    return sorted(
        module.name
        for module in iter_modules(jobs.benchmark.__path__)
        if not module.name.startswith("_")
    )


def main() -> None:
    """Import the benchmark that the command line names, that one alone, and run it."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in names():
        found = f"found {name!r}" if name else "found none"
        print(
            f"soloist: a benchmark is needed: {found}, expected one of {', '.join(names())}",
            file=sys.stderr,
        )
        raise SystemExit(BAD_INPUT)
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(guarded(getattr(import_module(f"jobs.benchmark.{name}"), name)))
    app(sys.argv[2:], prog_name=f"python -m jobs.benchmark {name}")


if __name__ == "__main__":
    main()
