"""``python -m jobs.benchmark NAME`` runs the function NAME of the module jobs.benchmark.NAME."""

from __future__ import annotations

import sys
from importlib import import_module
from pkgutil import iter_modules

import jobs.benchmark
from jobs.command import BAD_INPUT, run


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
    benchmark = getattr(import_module(f"jobs.benchmark.{name}"), name)
    run(benchmark, arguments=sys.argv[2:], program=f"python -m jobs.benchmark {name}")


if __name__ == "__main__":
    main()
