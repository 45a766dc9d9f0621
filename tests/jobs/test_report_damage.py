"""A damaged result file is one line with status 2, and the report of before stays as it is."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from analysis.results.reading import MANIFEST
from jobs.command import BAD_INPUT, exit_on_error
from jobs.report import report
from tests.support import damage
from tests.support.damage import column, fields, first_of, rows, text
from tests.support.results import SyntheticArm, write_counts, write_sweep

ENGINE = {"name": "async", "workers": 2, "delta_scale": 1.0}
ARMS = (
    SyntheticArm(name="relu", noise=0.6, replicas=3, engine=ENGINE, staleness=(4, 2)),
    SyntheticArm(name="smelu", noise=0.4, replicas=3, engine=ENGINE),
)
TRIAL = "trials/relu1"
DEEP = text("[" * 100_000)
PREDICTIONS, WATCHED = f"{TRIAL}/predictions.parquet", f"{TRIAL}/progress_predictions.parquet"

DAMAGES = {
    "deep manifest": (MANIFEST, DEEP, "recursion limit"),
    "deep cost": (f"{TRIAL}/cost.json", DEEP, "recursion limit"),
    "deep provenance": (f"{TRIAL}/provenance.json", DEEP, "recursion limit"),
    "deep config": (f"{TRIAL}/config.json", DEEP, "recursion limit"),
    "deep spending": ("sweep_cost.json", DEEP, "recursion limit"),
    "list": (MANIFEST, text("[]"), "found [], expected a JSON object"),
    "experiment of two lines": (MANIFEST, fields(experiment="a\n# injected"), "experiment: found"),
    "experiment above": (MANIFEST, fields(experiment="../x"), "experiment: found '../x'"),
    "formula": (MANIFEST, fields(arms__1__name="=HYPERLINK(1)"), "arms.1.name: found the name"),
    "HTML": (MANIFEST, fields(arms__1__name="<img onerror=x>"), "arms.1.name: found the name"),
    "cell": (MANIFEST, fields(arms__1__name="a|b"), "arms.1.name: found the name 'a|b'"),
    "arm twice": (MANIFEST, fields(arms__1__name="relu"), "arms: found 'relu' twice"),
    "trial twice": (
        MANIFEST,
        fields(arms__0__trials=["trials/relu0", "trials/relu0"]),
        "arms.0.trials: found 'trials/relu0' twice",
    ),
    "trial elsewhere": (
        MANIFEST,
        fields(arms__0__trials=["trials/relu0", "../../relu1"]),
        "arms.0.trials.1: found '../../relu1'",
    ),
    "kind null": (MANIFEST, fields(arms__0__kind=None), "arms.0.kind: found None"),
    "components": (MANIFEST, fields(arms__0__components=1e300), "arms.0.components: found 1e+300"),
    "beta": (MANIFEST, fields(arms__0__beta="wide"), "arms.0.beta: found 'wide'"),
    "varied": (MANIFEST, fields(varied=[3]), "varied.0: found 3, expected a valid string"),
    "no lookups": (f"{TRIAL}/cost.json", fields(serve_lookups=0), "serve_lookups: found 0"),
    "1e308": (f"{TRIAL}/cost.json", fields(serve_lookups=1e308), "serve_lookups: found 1e+308"),
    "no speed": (
        f"{TRIAL}/cost.json",
        fields(train_examples_per_second=0),
        "train_examples_per_second: found 0, expected greater than 0",
    ),
    "10^400": (f"{TRIAL}/cost.json", fields(parameters=10**400), "expected a finite number"),
    "truth value": (f"{TRIAL}/cost.json", fields(parameters=True), "parameters: found True"),
    "another cost": (f"{TRIAL}/cost.json", fields(more="x"), "more: found 'x'"),
    "seeds list": (f"{TRIAL}/provenance.json", fields(seeds=[1]), "seeds: found [1]"),
    "seeds null": (f"{TRIAL}/provenance.json", fields(seeds=None), "seeds: found None"),
    "seeds nested": (f"{TRIAL}/provenance.json", fields(seeds={"a": {}}), "seeds.a: found {}"),
    "machine": (f"{TRIAL}/provenance.json", fields(machine="x"), "machine: found 'x'"),
    "engine": (f"{TRIAL}/config.json", fields(recipe__engine=None), "recipe.engine: found None"),
    "workers": (
        f"{TRIAL}/config.json",
        fields(recipe__engine__workers="many"),
        "recipe.engine.workers: found 'many'",
    ),
    "staleness": (
        "trials/relu0/staleness.json",
        fields(updates__histogram={"x": 1}),
        "updates.histogram",
    ),
    "no pushes": (
        "trials/relu0/staleness.json",
        fields(updates__histogram={"0": 0}),
        "updates.histogram.0: found 0",
    ),
    "logit text": (PREDICTIONS, column("logit", "1"), "logit: found string, expected numbers"),
    "logit list": (PREDICTIONS, column("logit", [1.0]), "logit: found list"),
    "logit struct": (PREDICTIONS, column("logit", {"a": 1.0}), "logit: found struct"),
    "logit binary": (PREDICTIONS, column("logit", b"1"), "logit: found binary"),
    "logit time": (PREDICTIONS, column("logit", 1, pa.timestamp("us")), "logit: found timestamp"),
    "group text": (PREDICTIONS, column("group", "1"), "group: found string, expected integers"),
    "group null": (PREDICTIONS, column("group", None, pa.int64()), "group: found none in row 1"),
    "label": (PREDICTIONS, column("label", 2.0), "label: found 2 in row 1"),
    "huge example": (PREDICTIONS, column("example", 2**64 - 1, pa.uint64()), "not in range"),
    "example twice": (
        PREDICTIONS,
        rows(lambda table: pa.concat_tables([table, table.slice(0, 1)])),
        "example: found 1000 twice",
    ),
    "column twice": (
        PREDICTIONS,
        rows(lambda table: table.append_column("logit", table["logit"])),
        "logit: found 2 such columns",
    ),
    "no Parquet": (PREDICTIONS, text("PAR1"), "expected Parquet"),
    "fewer watched": (WATCHED, rows(lambda table: table.slice(0, len(table) - 1)), "other example"),
    "others watched": (WATCHED, first_of("example", 7), "found other examples after 500"),
    "watched text": (WATCHED, column("example", "1"), "example: found string"),
    "watched logit text": (WATCHED, column("logit", "1"), "logit: found string"),
    "watched logit NaN": (WATCHED, column("logit", float("nan")), "logit: found none in row 1"),
    "cut progress": (f"{TRIAL}/progress.parquet", text("PAR1"), "expected Parquet"),
    "points text": (f"{TRIAL}/progress.parquet", column("examples", "1"), "examples: found string"),
    "losses list": (f"{TRIAL}/progress.parquet", column("eval_log_loss", [1.0]), "found list"),
    "no sliced example": (
        "slices.parquet",
        rows(lambda table: table.drop_columns(["example"])),
        "example: found 0 such columns",
    ),
    "no counts": (
        "slices.parquet",
        column("group_examples", None, pa.int64()),
        "group_examples: found none in row 1",
    ),
    "counts NaN": (
        "slices.parquet",
        column("item_examples", float("nan")),
        "item_examples: found double, expected integers",
    ),
    "counts text": ("slices.parquet", column("item_examples", "1"), "item_examples: found string"),
    "counts below 0": ("slices.parquet", column("item_examples", -1), "item_examples: found -1"),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A sweep with all files that a report reads, and the report of before."""
    directory = write_sweep(tmp_path_factory.mktemp("sound"), ARMS)
    write_counts(directory)
    (directory / "report").mkdir()
    (directory / "report/report.html").write_text("before")
    return directory


@pytest.fixture
def sweep(sound, tmp_path, monkeypatch):
    """A copy of it; what needs no results is not drawn again and again."""
    monkeypatch.setattr("jobs.report.draw_activations", lambda place: [])
    monkeypatch.setattr("jobs.report.draw_surfaces", lambda place: [])
    return Path(shutil.copytree(sound, tmp_path / "sweep"))


def files(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_a_sound_sweep_is_reported(sweep):
    report(sweep)

    assert (sweep / "report/tradeoff.csv").exists()


@pytest.mark.parametrize(("name", "harm", "told"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_one_line_and_changes_nothing(sweep, capsys, name, harm, told):
    harm(sweep / name)
    before = files(sweep)

    with pytest.raises(SystemExit) as stopped:
        exit_on_error(report)(sweep)

    (line,) = capsys.readouterr().err.splitlines()
    assert stopped.value.code == BAD_INPUT
    assert told in line
    assert line.startswith(f"soloist: {sweep / name}: ")
    assert files(sweep) == before


@pytest.mark.parametrize("link", [True, False])
def test_replicas_that_are_one_trial_are_refused(sweep, capsys, link):
    shutil.rmtree(sweep / "trials/relu2")
    if link:
        (sweep / "trials/relu2").symlink_to("relu1")
    else:
        shutil.copytree(sweep / TRIAL, sweep / "trials/relu2")

    with pytest.raises(SystemExit) as stopped:
        exit_on_error(report)(sweep)

    assert stopped.value.code == BAD_INPUT
    assert "relu2: found the same trial as " in capsys.readouterr().err


def test_a_replica_that_predicts_infinity_is_named(sweep, capsys):
    first_of("logit", float("inf"))(sweep / PREDICTIONS)

    report(sweep)

    assert "replica 1 predicts NaN or infinity" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("logit", [float("nan"), None])
def test_a_replica_that_predicts_nan_is_named_and_its_arm_has_no_calibration(sweep, capsys, logit):
    first_of("logit", logit)(sweep / PREDICTIONS)

    report(sweep)

    assert "replica 1 predicts NaN" in " ".join(capsys.readouterr().out.split())
    page = (sweep / "report/report.html").read_text(encoding="utf-8")
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    charts = json.loads(data, parse_constant=pytest.fail)["charts"]
    (panels,) = [each for each in charts["calibration"]["params"] if each["name"] == "arms"]
    assert panels["value"] == ["smelu"]


def test_a_name_is_shown_as_it_is_and_escaped_in_each_format(sweep, capsys):
    damage.fields(experiment=r"criteo [/b] [v2] \input{x} $1$ ~^ :smile:")(sweep / MANIFEST)

    report(sweep)

    assert r"criteo [/b] [v2] \input{x} $1$ ~^ :smile:: accuracy" in capsys.readouterr().out
    assert (
        r"\caption{criteo [/b] [v2] \textbackslash{}input\{x\} \$1\$ \textasciitilde{}"
        r"\textasciicircum{} :smile:: accuracy"
    ) in (sweep / "report/tradeoff.tex").read_text()
    assert r"# criteo [/b] [v2] \\input{x} \$1\$ \~^" in (sweep / "report/tradeoff.md").read_text()


def test_an_arm_of_a_kind_unheard_of_is_shown(sweep):
    damage.fields(arms__1__kind="$\\frac$ <b>")(sweep / MANIFEST)

    report(sweep)

    assert "$\\frac$ &lt;b&gt;" in (sweep / "report/report.html").read_text(encoding="utf-8")


def test_no_text_of_a_manifest_is_a_formula(sweep):
    damage.fields(arms__1__activation="=1+1")(sweep / MANIFEST)

    report(sweep)

    assert "\nsmelu,'=1+1," in (sweep / "report/tradeoff.csv").read_text()


def test_a_sweep_in_a_directory_named_like_markup_is_reported(sweep, capsys):
    named = sweep.rename(sweep.with_name("sweep [v2][b] \x1b[31m"))

    report(named)

    assert r"sweep [v2][b] \x1b[31m/report" in capsys.readouterr().out


def test_the_report_at_a_uri_changes_as_a_whole(sweep, capsys):
    text("PAR1")(sweep / TRIAL / "progress.parquet")
    before = files(sweep)

    with pytest.raises(SystemExit):
        exit_on_error(report)(sweep.as_uri())

    assert files(sweep) == before


def test_a_figure_that_can_be_drawn_no_more_goes_and_what_is_not_ours_stays(sweep):
    report(sweep)
    (sweep / "report/notes.txt").write_text("mine")
    assert (sweep / "report/pd_progress.svg").exists()
    for path in sweep.glob("trials/*/progress_predictions.parquet"):
        path.unlink()

    report(sweep.as_uri())

    left = {path.name for path in (sweep / "report").iterdir()}
    assert {"notes.txt", "report.html", "pd_accuracy.svg"} <= left
    assert not left & {"pd_progress.svg", "pd_progress.png"}


def test_a_report_that_is_a_link_is_written_behind_it(sweep, tmp_path):
    (sweep / "report").rename(tmp_path / "elsewhere")
    (sweep / "report").symlink_to(tmp_path / "elsewhere")

    report(sweep)

    assert (sweep / "report").is_symlink()
    assert (tmp_path / "elsewhere/tradeoff.csv").exists()


def test_the_names_of_a_search_are_read(sweep):
    damage.fields(arms__1__name="smelu@1e-05")(sweep / MANIFEST)

    report(sweep)

    assert "smelu@1e-05" in json.loads((sweep / MANIFEST).read_text())["arms"][1]["name"]
