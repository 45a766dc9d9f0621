"""Files of any order and size give what the metrics give for arrays in memory."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis import prediction_difference as pd_forms
from analysis.prediction_files import alignment
from analysis.prediction_files.comparison import FileComparison, compare_files
from analysis.prediction_files.reading import open_predictions
from analysis.statistics import estimators, intervals
from recsys import metrics
from tests.support.predictions import predictions, write_all


def difference(found: FileComparison, name: str) -> intervals.Interval:
    return next(each.mean for each in found.differences if each.name == name)


def accuracy(found: FileComparison, name: str) -> list[float]:
    (named,) = [each for each in found.accuracy if each.name == name]
    return [each.value for each in named.each]


@pytest.fixture(params=["one part", "many parts"])
def parts(request, monkeypatch):
    if request.param == "many parts":
        monkeypatch.setattr(alignment, "PART_ROWS", 60)
    return request.param


@pytest.mark.parametrize("models", [2, 4])
def test_every_form_of_pd_is_that_of_the_arrays(tmp_path, parts, models):
    tables = predictions(models)
    found = compare_files(write_all(tmp_path, tables), top_k=3)
    stacked = np.stack([table["prediction"] for table in tables])
    weights, groups = tables[0]["weight"], tables[0]["group"]
    expected = {
        "relative PD": pd_forms.relative_pd(stacked, weights),
        "absolute PD": pd_forms.absolute_pd(stacked, weights),
        "logit PD": pd_forms.logit_pd(stacked, weights),
        "label churn": pd_forms.label_churn(stacked, weights, labels=tables[0]["label"]),
        "swap rate": pd_forms.swap_rate(stacked, weights, groups=groups),
        "mean-deviation PD": pd_forms.mean_deviation_pd(stacked, weights),
        "relative mean-deviation PD": pd_forms.mean_deviation_pd(stacked, weights, relative=True),
    }
    assert {name: difference(found, name).value for name in expected} == pytest.approx(expected)


def test_top_k_overlap_is_that_of_the_arrays_where_no_scores_tie(tmp_path, parts):
    tables = predictions(3)
    rng = np.random.default_rng(9)
    tables = [table.assign(prediction=rng.random(len(table))) for table in tables]
    found = compare_files(write_all(tmp_path, tables), top_k=3)
    expected = pd_forms.top_k_overlap(
        np.stack([table["prediction"] for table in tables]),
        tables[0]["weight"],
        groups=tables[0]["group"],
        k=3,
    )
    assert difference(found, "top-3 overlap").value == pytest.approx(expected)


def test_accuracy_of_each_file_is_that_of_the_arrays(tmp_path, parts):
    tables = predictions(3)
    found = compare_files(write_all(tmp_path, tables))
    plain = {
        "log loss": metrics.log_loss,
        "NE": metrics.normalized_entropy,
        "calibration": metrics.calibration,
    }
    for name, metric in plain.items():
        expected = [metric(each["label"], each["prediction"], each["weight"]) for each in tables]
        assert accuracy(found, name) == pytest.approx(expected)
    expected = [
        metrics.gauc(each["label"], each["prediction"], each["weight"], groups=each["group"])
        for each in tables
    ]
    assert accuracy(found, "GAUC") == pytest.approx(expected)


def test_the_auc_is_within_its_bound(tmp_path, parts):
    tables = predictions(2)
    found = compare_files(write_all(tmp_path, tables))
    exact = [metrics.roc_auc(each["label"], each["prediction"], each["weight"]) for each in tables]
    assert np.abs(np.array(accuracy(found, "AUC")) - exact).max() <= found.auc_error < 0.01


def test_intervals_are_those_of_a_sweep_but_for_rounding(tmp_path, parts):
    tables = [table.drop(columns="weight") for table in predictions(4)]
    found = compare_files(write_all(tmp_path, tables))
    sample = estimators.sample(
        tables[0]["label"].to_numpy(),
        np.stack([table["prediction"] for table in tables]),
        tables[0]["group"].to_numpy(),
    )
    expected = {
        "relative PD": intervals.estimate(estimators.relative_pd(sample), positive=True),
        "swap rate": intervals.estimate(estimators.swap_rate(sample), positive=True),
    }
    for name, interval in expected.items():
        actual = difference(found, name)
        assert (actual.low, actual.high) == pytest.approx((interval.low, interval.high), rel=0.02)
        assert actual.covers_replicas


@pytest.mark.parametrize(
    ("name", "estimator"),
    [
        ("log loss", estimators.log_loss),
        ("NE", estimators.normalized_entropy),
        ("calibration", estimators.calibration),
        ("GAUC", estimators.gauc),
        ("AUC", estimators.roc_auc),
    ],
)
def test_bounds_of_a_files_accuracy_are_those_of_one_model(tmp_path, parts, name, estimator):
    tables = [table.drop(columns="weight") for table in predictions(2)]
    (found,) = [
        each for each in compare_files(write_all(tmp_path, tables)).accuracy if each.name == name
    ]
    labels, groups = tables[1]["label"].to_numpy(), tables[1]["group"].to_numpy()
    alone = estimators.sample(labels, tables[1]["prediction"].to_numpy()[None], groups)
    expected = intervals.estimate(estimator(alone))
    actual = found.each[1]
    assert actual.high - actual.low == pytest.approx(expected.high - expected.low, rel=0.1)
    assert not actual.covers_replicas


def test_the_order_of_rows_and_the_format_do_not_matter(tmp_path, parts):
    tables = predictions(2)
    (tmp_path / "sorted").mkdir()
    (tmp_path / "shuffled").mkdir()
    first = compare_files(
        write_all(tmp_path / "sorted", [table.sort_values("example") for table in tables])
    )
    again = compare_files(
        write_all(
            tmp_path / "shuffled",
            [table.sample(frac=1, random_state=n) for n, table in enumerate(tables)],
            kind="csv",
        )
    )
    for one, other in zip(first.differences, again.differences, strict=True):
        assert (one.mean.value, one.mean.low) == pytest.approx((other.mean.value, other.mean.low))


def test_examples_and_groups_may_be_named_by_strings(tmp_path, parts):
    numbered = predictions(2)
    named = [table.astype({"example": str, "group": str}) for table in numbered]
    (tmp_path / "named").mkdir()
    one = compare_files(write_all(tmp_path, numbered))
    other = compare_files(write_all(tmp_path / "named", named))
    assert difference(one, "swap rate").value == pytest.approx(difference(other, "swap rate").value)


def test_without_groups_what_ranks_within_them_is_left_out(tmp_path):
    tables = [table.drop(columns=["group", "weight"]) for table in predictions(2)]
    found = compare_files(write_all(tmp_path, tables))
    assert found.groups == 0
    names = {each.name for each in (*found.differences, *found.accuracy)}
    assert names.isdisjoint({"swap rate", "top-10 overlap", "GAUC"})
    assert not np.isnan(difference(found, "relative PD").low)


def test_two_files_cover_other_examples_alone(tmp_path):
    found = compare_files(write_all(tmp_path, predictions(2)))
    assert not difference(found, "relative PD").covers_replicas


def test_the_threshold_of_churn_is_the_base_rate_unless_given(tmp_path):
    tables = predictions(2)
    paths = write_all(tmp_path, tables)
    rate = np.average(tables[0]["label"], weights=tables[0]["weight"])
    assert compare_files(paths).threshold == pytest.approx(rate)
    assert compare_files(paths, threshold=0.25).threshold == 0.25


def test_labels_of_one_kind_leave_metrics_undefined_for_a_reason(tmp_path):
    tables = [table.assign(label=0) for table in predictions(2)]
    found = compare_files(write_all(tmp_path, tables))
    reasons = {each.name: each.each[0].reason for each in found.accuracy if each.each[0].reason}
    assert reasons == {
        "NE": "all labels are the same",
        "calibration": "no label is positive",
        "GAUC": "no group has both labels",
        "AUC": "all labels are the same",
    }


def test_a_part_holds_whole_groups_and_a_bounded_number_of_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(alignment, "PART_ROWS", 100)
    tables = predictions(2, rows=3000)
    tables = [table.assign(group=np.arange(3000) // 5) for table in tables]
    files = [open_predictions(path) for path in write_all(tmp_path, tables)]
    with alignment.spilled(files) as spilled:
        rows = list(spilled.rows())
    assert sum(len(each.labels) for each in rows) == 3000
    assert max(len(each.labels) for each in rows) < 200
    assert sum(each.groups for each in rows) == 600


def test_nothing_is_left_in_the_scratch_folder(tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    compare_files(write_all(tmp_path, predictions(2)), scratch=scratch)
    assert list(scratch.iterdir()) == []


def test_float32_and_float64_files_can_be_compared(tmp_path):
    tables = predictions(2)
    tables[1] = tables[1].astype({"prediction": np.float32, "label": bool})
    found = compare_files(write_all(tmp_path, tables))
    expected = pd_forms.relative_pd(
        np.stack([pd.Series(table["prediction"], dtype="f8") for table in tables]),
        tables[0]["weight"],
    )
    assert difference(found, "relative PD").value == pytest.approx(expected, rel=1e-6)
