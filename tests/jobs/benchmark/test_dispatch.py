"""``soloist benchmark NAME`` runs the benchmark of that name and no other."""

from __future__ import annotations

import subprocess
import sys

import pytest

from jobs.benchmark import coverage
from jobs.benchmark.__main__ import benchmark, names
from jobs.command import BAD_INPUT
from tests.support.shared import ROOT


def ended(*arguments: str) -> int | str | None:
    """Run the command line and return its status."""
    with pytest.raises(SystemExit) as stopped:
        benchmark(list(arguments), program="soloist benchmark")
    return stopped.value.code


def test_coverage_is_a_benchmark():
    assert "coverage" in names()


@pytest.mark.parametrize("asked", ["-h", "--help"])
def test_help_tells_what_each_measures_in_its_own_words(capsys, monkeypatch, asked):
    monkeypatch.setenv("COLUMNS", "200")

    assert ended(asked) == 0

    shown = capsys.readouterr().out
    assert [name for name in names() if f" {name} " not in shown] == []
    assert "Soloist on a GPU: beside a plain TorchRec loop, fused, by activation" in shown
    assert "How often nominal 95 % intervals hold the truth" in shown


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
