"""``python -m jobs.benchmark NAME`` runs the benchmark of that name and no other."""

from __future__ import annotations

import sys

import pytest

from jobs.benchmark.__main__ import main, names
from jobs.command import BAD_INPUT


def test_coverage_is_a_benchmark():
    assert "coverage" in names()


@pytest.mark.parametrize(("arguments", "found"), [([], "none"), (["swiftness"], "'swiftness'")])
def test_another_name_is_refused_with_the_names_there_are(monkeypatch, capsys, arguments, found):
    monkeypatch.setattr(sys, "argv", ["benchmark", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == BAD_INPUT
    assert capsys.readouterr().err == (
        f"soloist: a benchmark is needed: found {found}, expected one of {', '.join(names())}\n"
    )


def test_a_benchmark_gets_its_options(monkeypatch, capsys):
    monkeypatch.setattr(
        sys, "argv", ["benchmark", "coverage", "--simulations", "2", "--groups", "8"]
    )
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 0
    assert "2 studies of 8 groups" in capsys.readouterr().out
