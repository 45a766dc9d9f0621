"""``soloist``, the one name of all jobs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import pytest
import typer
from torch.fx._symbolic_trace import is_fx_tracing_warning

from jobs.cli import JOBS, job_named
from jobs.command import check_output, run
from recsys import __version__
from recsys.errors import ConfigError
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
        "heavy = {'torch', 'ray', 'pandas', 'altair', 'vl_convert', 'jobs.sweep'}\n"
        "print(*sorted(heavy & set(sys.modules)))"
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
    assert "Usage: soloist benchmark coverage" in shown.stdout


@pytest.mark.parametrize("name", JOBS)
def test_every_job_explains_itself(name, capsys):
    job = job_named(name)

    with pytest.raises(SystemExit) as ended:
        run(job, arguments=["--help"], program=f"soloist {name}")

    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"Usage: soloist {name}" in shown
    assert job.__doc__.split()[0] in shown


def test_a_job_passes_on_no_warning_of_tracing(caplog):
    with pytest.raises(SystemExit):
        run(is_fx_tracing_warning.__wrapped__, arguments=[])

    assert caplog.messages == []


def test_an_output_that_would_go_with_a_submitted_job_is_refused(tmp_path, monkeypatch):
    sent = json.dumps({"runtime_env": {"working_dir": "gcs://_ray_pkg_1.zip"}, "metadata": {}})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", sent)

    for lost in (Path("results/small"), tmp_path / "results"):
        with pytest.raises(
            ConfigError, match="which is deleted with the job; expected an absolute path"
        ):
            check_output(lost)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("config", [None, '{"runtime_env": {}}', '{"runtime_env": null}'])
def test_a_job_whose_working_directory_was_not_sent_writes_below_it(tmp_path, monkeypatch, config):
    monkeypatch.chdir(tmp_path)
    if config is not None:
        monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", config)

    check_output(Path("results"))

    assert (tmp_path / "results").is_dir()


def test_a_submitted_job_may_write_where_all_nodes_reach(tmp_path, monkeypatch):
    (tmp_path / "sent").mkdir()
    monkeypatch.chdir(tmp_path / "sent")
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", '{"runtime_env": {"working_dir": "x"}}')

    check_output(tmp_path / "shared")

    assert (tmp_path / "shared").is_dir()


def test_the_version_is_told():
    shown = soloist("--version")

    assert (shown.returncode, shown.stdout) == (0, f"soloist {__version__}\n")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("raise ModuleNotFoundError(name='torchrec')", "torchrec is not installed"),
        ("raise OSError('libcudart.so.12: no such file')", "a library fails to load: libcudart"),
    ],
)
def test_an_installation_without_torchrec_says_what_to_install(tmp_path, content, says):
    (tmp_path / "torchrec.py").write_text(content)

    ran = subprocess.run(
        [sys.executable, "-m", "jobs.cli", "train", "movielens", "--arm", "relu"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 1
    assert ran.stderr.startswith(f"soloist: {says}")
    assert ran.stderr.count("\n") == 1
    assert "pip install --no-deps torchrec==1.8.0 fbgemm-gpu-cpu==1.8.0" in ran.stderr
    assert "with CUDA: pip install 'soloist[cuda]'" in ran.stderr


@pytest.mark.parametrize(
    ("option", "value"),
    [("--share", "nan"), ("--share", "inf"), ("--share", "-inf"), ("--counts", "1" + "0" * 30)],
)
def test_an_option_that_is_no_sane_number_is_refused(option, value, capsys):
    def job(share: float = 0.5, counts: Annotated[list[int] | None, typer.Option()] = None) -> None:
        raise AssertionError("it started")

    with pytest.raises(SystemExit) as ended:
        run(job, arguments=[option, value])

    found = capsys.readouterr().err
    assert ended.value.code == 2
    assert found.startswith(f"soloist: {option}: found ")
    assert found.endswith(", expected a finite 64-bit number\n")
