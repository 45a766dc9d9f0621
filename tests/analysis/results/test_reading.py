"""What a sweep leaves behind is read whole, or refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.errors import ResultsError
from analysis.results.reading import DONE, MANIFEST, read_sweep
from tests.support.results import EXAMPLES, POINTS, SyntheticArm, write_sweep


def test_a_sweep_is_read_as_written(tmp_path):
    sweep = read_sweep(write_sweep(tmp_path))
    assert [arm.name for arm in sweep.arms] == [
        "relu",
        "smelu_half",
        "smelu_1",
        "swish",
        "relu_ensemble",
    ]
    assert (sweep.baseline.name, sweep.baseline.kind) == ("relu", "single")
    assert (sweep.arms[1].beta, sweep.arms[4].components) == (0.5, 3)
    assert np.isnan(sweep.baseline.beta)
    assert sweep.varied == ("shuffle",)


def test_replicas_are_stacked_over_the_same_examples(tmp_path):
    predictions = read_sweep(write_sweep(tmp_path)).baseline.read_predictions()
    stored = pd.read_parquet(tmp_path / "trials/relu2/predictions.parquet")
    np.testing.assert_allclose(predictions.logits[2], stored["logit"])
    assert predictions.logits.shape == (4, EXAMPLES)
    assert predictions.replicas == (0, 1, 2, 3)
    np.testing.assert_allclose(predictions.probabilities, 1 / (1 + np.exp(-predictions.logits)))


def test_a_sweep_may_lie_in_a_relative_directory_with_a_colon(tmp_path, monkeypatch):
    write_sweep(tmp_path / "run:1")
    monkeypatch.chdir(tmp_path)

    assert len(read_sweep(Path("run:1")).baseline.read_predictions().example) == EXAMPLES


def test_trials_that_are_not_done_are_missing_and_the_others_keep_their_numbers(tmp_path):
    write_sweep(tmp_path, (SyntheticArm(name="relu", noise=0.5, unfinished=(1,)),))
    arm = read_sweep(tmp_path).baseline
    assert (arm.missing, arm.read_predictions().replicas) == (1, (0, 2, 3))


def test_progress_has_a_point_for_each_number_of_examples(tmp_path):
    progress = read_sweep(write_sweep(tmp_path)).baseline.read_progress()
    assert tuple(progress) == POINTS
    assert {logits.shape for logits in progress.values()} == {(4, EXAMPLES // 9)}


def test_progress_is_empty_where_a_replica_kept_none(tmp_path):
    write_sweep(tmp_path)
    (tmp_path / "trials/relu1/progress_predictions.parquet").unlink()
    assert read_sweep(tmp_path).baseline.read_progress() == {}


def test_a_directory_without_manifest_is_refused(tmp_path):
    with pytest.raises(ResultsError, match=f"has no {MANIFEST}, expected the output of a sweep"):
        read_sweep(tmp_path)


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ("{", "expected a JSON object"),
        ("[]", r"found \[\], expected a JSON object"),
        ("{}", "experiment: found nothing, expected a value"),
        ('{"arms": [{"name": "relu"}]}', "experiment: found nothing, expected a value"),
    ],
)
def test_a_broken_manifest_is_refused(tmp_path, contents, message):
    (tmp_path / MANIFEST).write_text(contents)
    with pytest.raises(ResultsError, match=message):
        read_sweep(tmp_path)


def test_a_baseline_that_is_no_arm_is_refused(tmp_path):
    write_sweep(tmp_path, baseline="gelu")
    with pytest.raises(ResultsError, match="baseline 'gelu' is not an arm, expected one of relu"):
        read_sweep(tmp_path)


def test_replicas_of_different_examples_are_refused(tmp_path):
    write_sweep(tmp_path)
    path = tmp_path / "trials/relu1/predictions.parquet"
    pd.read_parquet(path).iloc[:-1].to_parquet(path, index=False)
    with pytest.raises(ResultsError, match="relu1: examples, groups or labels differ"):
        read_sweep(tmp_path).baseline.read_predictions()


def test_labels_other_than_0_and_1_are_refused(tmp_path):
    write_sweep(tmp_path)
    path = tmp_path / "trials/relu0/predictions.parquet"
    pd.read_parquet(path).assign(label=0.5).to_parquet(path, index=False)
    with pytest.raises(ResultsError, match="labelled 0 or 1"):
        read_sweep(tmp_path).baseline.read_predictions()


def test_a_missing_column_is_named(tmp_path):
    write_sweep(tmp_path)
    path = tmp_path / "trials/relu0/predictions.parquet"
    pd.read_parquet(path).drop(columns="logit").to_parquet(path, index=False)
    with pytest.raises(ResultsError, match=r"predictions\.parquet: .*logit"):
        read_sweep(tmp_path).baseline.read_predictions()


def test_a_done_trial_without_its_files_is_refused(tmp_path):
    write_sweep(tmp_path)
    (tmp_path / "trials/relu0/predictions.parquet").unlink()
    with pytest.raises(ResultsError, match=f"missing, although the trial is marked {DONE}"):
        read_sweep(tmp_path).baseline.read_predictions()


def test_a_cost_that_is_no_number_is_named(tmp_path: Path):
    write_sweep(tmp_path)
    (tmp_path / "trials/relu0/cost.json").write_text(json.dumps({"train_lookups": "many"}))
    with pytest.raises(ResultsError, match="train_lookups: found 'many', expected a valid number"):
        _ = read_sweep(tmp_path).baseline.cost


@pytest.mark.parametrize("source", [False, True])
@pytest.mark.parametrize("place", ["/etc", "../../up", "trials/../../up", "", "..", 3])
def test_a_trial_outside_the_sweep_and_what_is_beside_it_is_refused(tmp_path, place, source):
    write_sweep(tmp_path)
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    (manifest["arms"] if not source else manifest["sources"]).append(
        manifest["arms"][0] | {"source": "arithmetic", "trials": [place]}
    )
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))

    with pytest.raises(ResultsError, match=r"sweep\.json: .*, expected what a sweep writes"):
        read_sweep(tmp_path)


def test_a_file_without_an_end_is_refused(tmp_path):
    (tmp_path / MANIFEST).symlink_to("/dev/zero")

    with pytest.raises(ResultsError, match=r"sweep\.json: found more than 268,435,456 bytes"):
        read_sweep(tmp_path)
