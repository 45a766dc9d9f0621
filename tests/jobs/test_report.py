"""``soloist report`` writes every table and figure that applies and prints the table."""

from __future__ import annotations

import pytest

from jobs.command import BAD_INPUT, exit_on_error
from jobs.figures import family, surface
from jobs.report import report
from jobs.watch import watch
from tests.support.results import SyntheticArm, write_sweep

FIGURES = (
    "pd_accuracy",
    "pd_lookups",
    "pd_slice_0",
    "pd_progress",
    "eval_log_loss",
    "progressive_log_loss",
    "calibration",
    "activations",
    "loss_surfaces",
)


def test_all_tables_and_figures_are_written_and_the_table_is_printed(tmp_path, capsys):
    report(write_sweep(tmp_path))
    printed = capsys.readouterr().out
    assert "smelu_half" in printed
    assert "the 3-component ReLU ensemble" in printed.splitlines()[-1]
    assert {path.name for path in (tmp_path / "report").iterdir()} == {
        *(f"tradeoff.{kind}" for kind in ("parquet", "csv", "md", "tex")),
        *(f"{name}.{kind}" for name in FIGURES for kind in ("png", "svg")),
        "report.html",
    }


def test_a_sweep_of_which_nothing_is_finished_has_a_table_of_what_is_missing(tmp_path, capsys):
    arms = (SyntheticArm(name="relu", noise=0.5, unfinished=(0, 1, 2, 3)),)
    report(write_sweep(tmp_path, arms))
    assert "Missing trials: relu 4 of 4." in capsys.readouterr().out
    assert not (tmp_path / "report/pd_accuracy.png").exists()


def test_the_margins_of_the_verdict_can_be_set(tmp_path, monkeypatch):
    monkeypatch.setattr("jobs.report.draw", lambda summary, place: [])
    directory = write_sweep(tmp_path)

    report(directory, log_loss_margin=1.0, pd_margin=9.0, ranking_loss_margin=10.0)

    page = (directory / "report/report.html").read_text(encoding="utf-8")
    assert "SmeLU β=1 replaces the 3-component ReLU ensemble: PD" in page
    assert "at most 900 % higher, its log loss at most 1 nats higher" in page
    assert "at most 1000 % of the incumbent's gain over random order higher" in page


def test_a_directory_that_is_no_sweep_is_refused_in_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        exit_on_error(report)(tmp_path)
    assert stopped.value.code == BAD_INPUT
    assert capsys.readouterr().err == (
        f"soloist: {tmp_path}: has no sweep.json, expected the output of a sweep\n"
    )


@pytest.mark.parametrize("job", [report, watch])
@pytest.mark.parametrize(
    ("key", "content"),
    [
        ("trials/../../../project/DONE", b""),
        ("trials/relu0/DONE", b'{"../../../project/precious": ""}'),
        ("trials/relu0/DONE", b'{"/project/precious": ""}'),
        ("report\\page.html", b""),
    ],
)
def test_a_bucket_that_leads_out_of_its_folder_is_refused_in_one_line(
    s3, tmp_path, monkeypatch, capsys, job, key, content
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "precious").write_text("mine")
    bucket = s3.new_bucket()
    s3.client().put_object(Bucket=bucket, Key=f"results/{key}", Body=content)

    with pytest.raises(SystemExit) as stopped:
        exit_on_error(job)(s3.uri(bucket, "results"))

    (line,) = capsys.readouterr().err.splitlines()
    assert stopped.value.code == BAD_INPUT
    assert "expected one inside the folder" in line
    assert [path.name for path in tmp_path.rglob("*")] == ["project", "precious"]


def test_smelu_of_beta_0_is_drawn_as_relu():
    (curve,) = family("smelu", (0.0,)).curves
    assert curve.value.min() == 0.0
    assert set(curve.gradient) == {0.0, 1.0}


def test_the_gradient_of_a_curve_is_its_slope():
    (curve,) = family("swish", (1.0,)).curves
    slope = (curve.value[2:] - curve.value[:-2]) / (curve.x[2:] - curve.x[:-2])
    assert curve.gradient[1:-1] == pytest.approx(slope, abs=1e-4)


def test_wider_smelu_makes_a_loss_surface_that_bends_less():
    def bending(beta: float) -> float:
        loss = surface(beta).loss
        return float(abs(loss[2:] - 2 * loss[1:-1] + loss[:-2]).max())

    assert bending(0.0) > bending(0.5) > bending(1.0)
