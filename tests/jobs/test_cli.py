"""``soloist``, the one name of all jobs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from jobs.cli import JOBS, job_named
from jobs.command import run
from tests.support.shared import ROOT


def soloist(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "jobs.cli", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_tells_every_job_and_the_first_steps():
    shown = soloist("--help")

    assert shown.returncode == 0
    assert [job for job in JOBS if job not in shown.stdout] == []
    assert "soloist sweep movielens" in shown.stdout


def test_help_imports_no_job_and_none_of_their_libraries():
    program = (
        "import sys; from jobs.cli import main\n"
        "sys.argv = ['soloist', '--help']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(*sorted({'torch', 'ray', 'pandas', 'matplotlib', 'jobs.sweep'} & set(sys.modules)))"
    )

    shown = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert shown.stdout.splitlines()[-1] == ""


def test_an_unknown_job_is_refused_with_the_nearest_one():
    shown = soloist("swep")

    assert shown.returncode == 2
    assert "Did you mean 'sweep'?" in shown.stderr


def test_a_jobs_own_arguments_and_status_pass_through():
    shown = soloist("train", "movielens", "--arm", "rleu")

    assert shown.returncode == 2
    assert shown.stderr.splitlines()[-1] == ("soloist: --arm rleu: unknown, did you mean 'relu'?")


def test_benchmarks_are_reached_too():
    shown = soloist("benchmark", "coverage", "--help")

    assert shown.returncode == 0
    assert "Usage: python -m jobs.benchmark coverage" in shown.stdout


@pytest.mark.parametrize("name", JOBS)
def test_every_job_explains_itself(name, capsys):
    job = job_named(name)

    with pytest.raises(SystemExit) as ended:
        run(job, arguments=["--help"], program=f"soloist {name}")

    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"Usage: soloist {name}" in shown
    assert job.__doc__.split()[0] in shown
