"""Relative PD by slice, against the definition on the examples of each slice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.errors import ResultsError
from analysis.prediction_difference import relative_pd
from analysis.results.reading import read_sweep
from analysis.results.slices import SLICES, Missing, Sliced, by_count, by_score, slice_sweep
from tests.support.results import ARMS, SyntheticArm, write_counts, write_sweep


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    directory = write_sweep(tmp_path_factory.mktemp("sweep"))
    write_counts(directory)
    return read_sweep(directory)


def test_the_examples_are_cut_alike_for_all_arms_by_score_by_user_and_by_item(sweep):
    found = slice_sweep(sweep)

    assert [each.slicing.title for each in found] == [
        "predicted score",
        "training examples of the user",
        "training examples of the film shown",
    ]
    assert [list(each.relative_pd) for each in found] == [[arm.name for arm in ARMS]] * 3


def test_the_pd_of_a_slice_is_that_of_its_examples_with_an_interval_around_it(sweep):
    predictions = sweep.arms[1].read_predictions()

    for each in slice_sweep(sweep):
        for part, found in enumerate(each.relative_pd["smelu_half"]):
            rows = each.slicing.part == part
            assert found.value == pytest.approx(relative_pd(predictions.probabilities[:, rows]))
            assert found.low < found.value < found.high


def test_tenths_are_of_equal_size_and_rise_with_the_mean_prediction(sweep):
    predictions = sweep.baseline.read_predictions()
    mean = predictions.probabilities.mean(axis=0)

    found = by_score(predictions)

    assert np.bincount(found.part).tolist() == [90] * 10
    highest = [mean[found.part == tenth].max() for tenth in range(10)]
    lowest = [mean[found.part == tenth].min() for tenth in range(10)]
    assert all(below <= above for below, above in zip(highest[:-1], lowest[1:], strict=True))


@pytest.mark.parametrize(
    ("counts", "labels", "parts"),
    [
        ([1, 2, 3, 4, 5], ("1", "2", "3", "4", "5"), [0, 1, 2, 3, 4]),
        ([0, 0, 0, 0, 7], ("0", "7"), [0, 0, 0, 0, 1]),
        ([3, 3, 3], ("3",), [0, 0, 0]),
        (list(range(0, 2000, 200)), None, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]),
    ],
)
def test_counts_are_cut_evenly_and_equal_ones_stay_together(counts, labels, parts):
    found = by_count("films", np.array(counts))

    assert found.part.tolist() == parts
    assert labels is None or found.labels == labels


def test_a_span_of_counts_is_named_by_its_ends():
    assert by_count("films", np.arange(0, 2000, 200)).labels[-1] == "1,600–1,800"


def test_a_sweep_that_noted_no_counts_is_sliced_by_score_and_says_what_is_missing(tmp_path):
    score, user, item = slice_sweep(read_sweep(write_sweep(tmp_path)))

    assert isinstance(score, Sliced)
    assert isinstance(user, Missing)
    assert isinstance(item, Missing)
    assert "has no slices.parquet" in user.reason


def test_an_experiment_that_names_no_item_is_told_how_to(tmp_path):
    directory = write_sweep(tmp_path)
    path = write_counts(directory)
    table = pq.read_table(path).drop_columns(["item_examples"])
    pq.write_table(table, path)

    _, user, item = slice_sweep(read_sweep(directory))

    assert isinstance(user, Sliced)
    assert isinstance(item, Missing)
    assert item.reason.endswith("data.item")


def test_counts_of_other_examples_are_refused(tmp_path):
    directory = write_sweep(tmp_path)
    pq.write_table(pa.table({"example": np.arange(10)}), directory / SLICES)

    with pytest.raises(ResultsError, match="lacks examples of the trials' evaluation"):
        slice_sweep(read_sweep(directory))


def test_counts_may_lie_in_a_relative_directory_with_a_colon(tmp_path, monkeypatch):
    write_counts(write_sweep(tmp_path / "run:1"))
    monkeypatch.chdir(tmp_path)

    found = slice_sweep(read_sweep(Path("run:1")))

    assert [type(each) for each in found] == [Sliced] * 3


def test_a_file_that_is_no_parquet_is_refused_by_its_name(tmp_path):
    directory = write_sweep(tmp_path)
    (directory / SLICES).write_text("counts")

    with pytest.raises(ResultsError, match=r"slices\.parquet: .*expected Parquet"):
        slice_sweep(read_sweep(directory))


def test_one_replica_an_arm_cannot_be_sliced(tmp_path):
    arms = (SyntheticArm(name="relu", noise=0.5, replicas=1),)

    assert slice_sweep(read_sweep(write_sweep(tmp_path, arms))) == (
        Missing(title="slices", reason="no arm has two finished replicas"),
    )
