"""``soloist benchmark NAME`` runs the benchmark of that name and no other."""

from __future__ import annotations

import subprocess
import sys

import pytest

from jobs.benchmark import coverage
from jobs.benchmark.__main__ import BENCHMARKS, benchmark
from jobs.command import BAD_INPUT
from tests.support.shared import ROOT


def ended(*arguments: str) -> int | str | None:
    """Run the command line and return its status."""
    with pytest.raises(SystemExit) as stopped:
        benchmark(list(arguments), program="soloist benchmark")
    return stopped.value.code


def test_every_benchmark_has_a_function_of_its_name():
    for name in BENCHMARKS:
        source = (ROOT / "jobs" / "benchmark" / f"{name}.py").read_text(encoding="utf-8")
        assert f"\ndef {name}(" in source


@pytest.mark.parametrize("asked", ["-h", "--help"])
def test_help_tells_what_each_measures_in_one_line(capsys, monkeypatch, asked):
    monkeypatch.setenv("COLUMNS", "200")

    assert ended(asked) == 0

    shown = capsys.readouterr().out
    assert [name for name in BENCHMARKS if f" {name} " not in shown] == []
    assert "Soloist on a GPU: compared with a plain TorchRec loop, fused, by activation" in shown
    assert "How often nominal 95 % intervals contain the true value" in shown


def test_help_imports_no_benchmark():
    program = (
        "import sys; from jobs.benchmark.__main__ import benchmark\n"
        "try: benchmark(['--help'], program='soloist benchmark')\n"
        "except SystemExit: pass\n"
        "print(*sorted({'torch', 'ray', 'pandas', 'jobs.benchmark.gpu'} & set(sys.modules)))"
    )

    shown = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert shown.stdout.splitlines()[-1] == ""


def test_another_name_is_refused_with_the_nearest_one(capsys):
    assert ended("gpus") == BAD_INPUT
    assert "Did you mean 'gpu'?" in capsys.readouterr().err


def test_a_benchmark_gets_its_options(capsys, monkeypatch):
    monkeypatch.setattr(coverage, "WORLDS", {"noise alone": coverage.WORLDS["noise alone"]})

    assert ended("coverage", "--simulations", "2", "--groups", "8") == 0
    assert "2 studies of 8 groups" in capsys.readouterr().out
