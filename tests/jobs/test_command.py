"""The line that a job prints where it ends early."""

from __future__ import annotations

import pytest

from analysis.errors import ResultsError
from distrib.errors import TrialFailed
from jobs import cli
from jobs.command import BAD_INPUT, guarded, run
from recsys.errors import ConfigError, DataError

URIS = ("s3://AKIA:SEC/RET@bucket/x", "foo://u:SEC%20RET@b/x", "s3://u:SEC RET@b/x?sig=SEC")


@pytest.mark.parametrize("kind", [ConfigError, DataError, ResultsError, TrialFailed, OSError])
@pytest.mark.parametrize("uri", URIS)
def test_no_message_holds_credentials(kind, uri, capsys) -> None:
    def fail() -> None:
        raise kind(f"cannot reach '{uri}'")

    with pytest.raises(SystemExit):
        guarded(fail)()

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"soloist: cannot reach '{uri.partition(':')[0]}://b")
    assert "SEC" not in line
    assert "RET" not in line


@pytest.mark.parametrize(
    "arguments",
    [
        ["report", "URI"],
        ["watch", "URI", "--once"],
        ["export", "URI", "--output", "program"],
        ["export", "URI", "--arm", "relu", "--output", "program"],
        ["replay", "URI"],
        ["serve-cost", "URI"],
        ["sweep", "synthetic", "--output", "URI"],
        ["search", "beta", "--output", "URI"],
        ["report", "results", "URI"],
        ["compare", "URI", "other"],
        ["train", "URI"],
        ["sweep", "synthetic", "engine.name=async", "engine.snapshots=URI", "nothing=URI"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("uri", URIS)
def test_no_job_tells_credentials_of_arguments(arguments, uri, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    job, *words = [word.replace("URI", uri) for word in arguments]

    with pytest.raises(SystemExit) as ended:
        run(cli.job_named(job), arguments=words, program=f"soloist {job}")

    shown = capsys.readouterr()
    assert ended.value.code == BAD_INPUT
    assert not [secret for secret in ("SEC", "RET") if secret in shown.out + shown.err]
