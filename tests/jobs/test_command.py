"""What a job prints is text: no markup, no character that a terminal obeys, no endless line."""

from __future__ import annotations

import io

import pytest
from rich.table import Table

from analysis.errors import ResultsError
from distrib.errors import TrialFailed
from jobs import cli
from jobs.command import BAD_INPUT, Terminal, echo, exit_on_error, run
from jobs.compare import compare
from jobs.prepare import prepare
from recsys.errors import ConfigError, DataError

HOSTILE = "[/b] [v2] :smile: \x1b[31m"
URIS = ("s3://AKIA:SEC/RET@bucket/x", "foo://u:SEC%20RET@b/x", "s3://u:SEC RET@b/x?sig=SEC")
SHOWN = r"[/b] [v2] :smile: \x1b[31m"


def failing(reason: str, capsys: pytest.CaptureFixture[str]) -> str:
    def job() -> None:
        raise ConfigError(reason)

    with pytest.raises(SystemExit) as stopped:
        exit_on_error(job)()
    assert stopped.value.code == BAD_INPUT
    return capsys.readouterr().err


def test_a_console_shows_texts_cells_and_titles_as_they_are():
    written = io.StringIO()
    table = Table(HOSTILE, title=HOSTILE, caption=HOSTILE)
    table.add_row(HOSTILE)

    Terminal(file=written, width=100).print(table, HOSTILE)

    assert written.getvalue().count(SHOWN) == 5
    assert "\x1b" not in written.getvalue()


def test_a_terminal_still_has_the_styles_of_rich_itself():
    written = io.StringIO()

    Terminal(file=written, force_terminal=True, color_system="standard").print("\x1b", style="bold")

    assert written.getvalue() == "\x1b[1m\\x1b\x1b[0m\n"


def test_a_printed_line_is_one_line(capsys):
    echo("a\nb\x1b")

    assert capsys.readouterr().out == "a\\nb\\x1b\n"


def test_an_error_is_one_line_whatever_a_name_holds(capsys):
    assert failing("t\nx.csv: \x1b[31m", capsys) == "soloist: t\\nx.csv: \\x1b[31m\n"


def test_an_error_of_several_faults_keeps_their_lines(capsys):
    assert failing("2 faults:\n  one\n  two", capsys) == "soloist: 2 faults:\n  one\n  two\n"


def test_a_long_error_is_shortened(capsys):
    line = failing("k" * 34_000 + ": expected another", capsys)

    assert len(line) == 1001
    assert line.endswith(": expected another\n")


def test_a_feature_and_an_output_named_like_markup_are_prepared(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"{number % 2},{number},a{number % 3}\n" for number in range(40))
    (tmp_path / "t.csv").write_text(f"y,x[v2],[b]\n{rows}")
    (tmp_path / "s.yaml").write_text('label: y\ndense: ["x[v2]"]\ngroup: "[b]"\n')
    words = ["tabular", "--source", "t.csv", "--schema", "s.yaml", "--output", "data[b]"]

    with pytest.raises(SystemExit) as stopped:
        run(prepare, arguments=words)

    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    assert "x[v2]" in shown
    assert "group: [b]" in shown
    assert "data[b]" in "".join(shown.split())


def test_the_columns_of_a_wide_table_are_not_all_listed(tmp_path, capsys):
    header = ",".join(f"k{number}" for number in range(5000))
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(f"{header}\n{header}\n")

    with pytest.raises(SystemExit):
        exit_on_error(compare)([tmp_path / "a.csv", tmp_path / "b.csv"])

    line = capsys.readouterr().err
    assert "has no column example, found k0, k1, " in line
    assert len(line) < 400 + len(str(tmp_path))


@pytest.mark.parametrize("kind", [ConfigError, DataError, ResultsError, TrialFailed, OSError])
@pytest.mark.parametrize("uri", URIS)
def test_no_message_holds_credentials(kind, uri, capsys) -> None:
    def fail() -> None:
        raise kind(f"cannot reach '{uri}'")

    with pytest.raises(SystemExit):
        exit_on_error(fail)()

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
