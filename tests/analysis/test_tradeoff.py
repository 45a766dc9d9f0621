"""The table holds what the trials' predictions say, in every format, and hides no hole."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from analysis.errors import ResultsError
from analysis.prediction_difference import relative_pd, swap_rate
from analysis.results import tables as presentation
from analysis.results.reading import read_sweep
from analysis.results.summary import summarize
from analysis.text import WIDTH
from analysis.tradeoff import tradeoff_table, write_table
from recsys import metrics
from tests.support.results import ARMS, SyntheticArm, write_sweep

MEASURED = ("log_loss", "ne", "auc", "gauc", "ranking_loss", "relative_pd", "swap_rate")
COUNTED = ("train_lookups", "serve_lookups", "serve_lookup_bytes", "parameters")
SPEEDS = ("train_examples_per_second", "serve_us_per_example")
COMPARED = ("log_loss_vs_baseline", "relative_pd_vs_baseline")


def bounded(names: tuple[str, ...]) -> list[str]:
    return [f"{name}{end}" for name in names for end in ("", "_low", "_high")]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return write_sweep(
        tmp_path_factory.mktemp("sweep"), floor=SyntheticArm(name="floor", noise=0.001)
    )


@pytest.fixture(scope="module")
def table(directory):
    return tradeoff_table(directory).set_index("arm")


def shown(directory, width: int = WIDTH) -> str:
    console = Console(width=width)
    with console.capture() as captured:
        console.print(presentation.as_terminal(presentation.page(summarize(read_sweep(directory)))))
    return captured.get()


def test_the_columns_are_those_of_the_contract(table):
    assert list(table.reset_index().columns) == [
        *("arm", "activation", "beta", "components", "replicas"),
        *bounded(MEASURED),
        *COUNTED,
        *bounded(SPEEDS),
        *bounded(COMPARED),
        *("train_lookups_vs_baseline", "serve_lookups_vs_baseline"),
    ]


def test_a_metric_is_the_mean_over_replicas(directory, table):
    trials = [
        pd.read_parquet(directory / f"trials/relu{number}/predictions.parquet")
        for number in range(4)
    ]
    labels, groups = trials[0]["label"], trials[0]["group"]
    predictions = np.array([1 / (1 + np.exp(-trial["logit"].astype("f8"))) for trial in trials])
    row = table.loc["relu"]
    assert row["log_loss"] == pytest.approx(
        np.mean([metrics.log_loss(labels, model) for model in predictions])
    )
    assert row["gauc"] == pytest.approx(
        np.mean([metrics.gauc(labels, model, groups=groups) for model in predictions])
    )
    assert row["relative_pd"] == pytest.approx(relative_pd(predictions))
    assert row["swap_rate"] == pytest.approx(swap_rate(predictions, groups=groups))


def test_every_measured_value_lies_within_its_bounds(table):
    for name in (*MEASURED, *SPEEDS, *COMPARED):
        assert (table[f"{name}_low"] <= table[name]).all()
        assert (table[name] <= table[f"{name}_high"]).all()


def test_comparisons_are_with_the_baseline(table):
    expected = table["relative_pd"] / table.loc["relu", "relative_pd"]
    np.testing.assert_allclose(table["relative_pd_vs_baseline"], expected)
    expected = table["log_loss"] - table.loc["relu", "log_loss"]
    np.testing.assert_allclose(table["log_loss_vs_baseline"], expected, atol=1e-12)
    assert table.loc["relu_ensemble", "serve_lookups_vs_baseline"] == 3.0


def test_an_arm_with_less_noise_is_found_to_have_a_smaller_pd(table):
    assert table.loc["smelu_1", "relative_pd_vs_baseline_high"] < 1.0


def test_every_format_holds_every_arm(directory, tmp_path):
    paths = {path.suffix: path for path in write_table(summarize(read_sweep(directory)), tmp_path)}
    parquet = pd.read_parquet(paths[".parquet"])
    pd.testing.assert_frame_equal(parquet, tradeoff_table(directory))
    pd.testing.assert_frame_equal(pd.read_csv(paths[".csv"]), parquet, check_dtype=False)
    for arm in ARMS:
        assert f"{arm.name}" in paths[".md"].read_text()
        assert arm.name.replace("_", r"\_") in paths[".tex"].read_text()
    assert sorted(tmp_path.iterdir()) == sorted(paths.values())


def test_the_terminals_table_fits_its_width_and_marks_the_baseline(directory):
    lines = shown(directory).splitlines()
    assert max(len(line) for line in lines) <= WIDTH
    (row,) = [line for line in lines if line.startswith("relu ") and "±" in line]
    assert row.count("baseline") == 2


def test_data_without_groups_show_the_auc_in_place_of_the_ranking_loss(tmp_path, directory):
    alone = write_sweep(tmp_path)
    for path in alone.rglob("predictions.parquet"):
        predictions = pd.read_parquet(path)
        predictions.assign(group=predictions["example"]).to_parquet(path, index=False)

    assert "AUC" in shown(alone)
    assert "ranking loss  " not in shown(alone)
    assert "ranking loss  " in shown(directory)


def test_the_arithmetic_floor_stands_below_the_table(directory):
    assert "relu with arithmetic varied alone: relative PD 0.0" in shown(directory)


def test_a_floor_that_is_not_known_says_why(tmp_path):
    floor = SyntheticArm(name="floor", noise=0.001, replicas=2, unfinished=(0,))
    text = shown(write_sweep(tmp_path, floor=floor))
    assert "its relative PD is unknown, needs at least two replicas." in text


def test_missing_trials_are_counted_and_an_arm_without_any_is_nan(tmp_path):
    write_sweep(
        tmp_path,
        (
            SyntheticArm(name="relu", noise=0.5),
            SyntheticArm(name="part", noise=0.4, unfinished=(0,)),
            SyntheticArm(name="none", noise=0.4, unfinished=(0, 1, 2, 3)),
        ),
    )
    row = tradeoff_table(tmp_path).set_index("arm").loc["none"]
    assert row["replicas"] == 0
    assert np.isnan(row["log_loss"])
    assert "Missing trials: part 1 of 4, none 4 of 4." in shown(tmp_path)


def test_two_replicas_cover_examples_alone_and_settle_nothing(tmp_path):
    arms = tuple(
        SyntheticArm(name=name, noise=noise, replicas=2)
        for name, noise in (("relu", 0.9), ("smelu", 0.1))
    )
    text = shown(write_sweep(tmp_path, arms))
    assert "Fewer than 3 replicas, intervals cover examples only: relu, smelu." in text
    assert "Open in PD; too few replicas to estimate how many more: smelu." in text


def test_an_open_comparison_says_how_many_more_replicas_it_needs(tmp_path):
    arms = (SyntheticArm(name="relu", noise=0.5), SyntheticArm(name="gelu", noise=0.47))
    assert "Open in log loss; more replicas needed: gelu " in shown(write_sweep(tmp_path, arms))


def test_a_replica_that_diverged_makes_its_arm_nan_with_the_reason(tmp_path):
    write_sweep(tmp_path)
    path = tmp_path / "trials/swish2/predictions.parquet"
    pd.read_parquet(path).assign(logit=np.float32("nan")).to_parquet(path, index=False)
    table = tradeoff_table(tmp_path).set_index("arm")
    assert np.isnan(table.loc["swish", "log_loss"])
    assert not np.isnan(table.loc["relu", "log_loss"])
    assert "replica 2 predicts NaN or infinity" in " ".join(shown(tmp_path).split())


def test_replicas_trained_on_different_devices_are_told_apart(tmp_path):
    write_sweep(tmp_path)
    assert "Trained on" not in shown(tmp_path)

    gpu = tmp_path / "trials/relu1/provenance.json"
    gpu.write_text('{"machine": {"device": "cuda:0"}}')

    assert "Trained on cpu and cuda" in shown(tmp_path)


def test_replicas_timed_together_have_no_bounds_of_speed(tmp_path):
    write_sweep(tmp_path)
    cost = (tmp_path / "trials/relu0/cost.json").read_text()
    for number in range(1, 4):
        (tmp_path / f"trials/relu{number}/cost.json").write_text(cost)
    row = tradeoff_table(tmp_path).set_index("arm").loc["relu"]
    assert row["serve_us_per_example"] == 12.0
    assert np.isnan(row["serve_us_per_example_low"])


def test_arms_evaluated_on_different_examples_are_refused(tmp_path):
    write_sweep(tmp_path)
    for number in range(4):
        path = tmp_path / f"trials/swish{number}/predictions.parquet"
        pd.read_parquet(path).iloc[1:].to_parquet(path, index=False)
    with pytest.raises(ResultsError, match="swish was evaluated on other examples"):
        tradeoff_table(tmp_path)


def test_a_cost_that_was_not_counted_is_named(tmp_path):
    write_sweep(tmp_path)
    for number in range(4):
        (tmp_path / f"trials/relu{number}/cost.json").write_text("{}")
    with pytest.raises(ResultsError, match=r"cost\.json: train_lookups: found nothing"):
        tradeoff_table(tmp_path)


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_a_terminal_of_any_width_shows_every_name_and_every_number_whole(tmp_path, width):
    arms = (*ARMS, SyntheticArm(name="relu_anti_distilled", noise=0.3))
    directory = write_sweep(tmp_path, arms)
    page = presentation.page(summarize(read_sweep(directory)))

    lines = shown(directory, width).splitlines()

    assert max(map(len, lines)) <= width
    words = set(" ".join(lines).split())
    for row in page.rows:
        for cell in row:
            assert set(cell.text.split()) <= words


def test_a_terminal_too_narrow_for_all_columns_wraps_names_and_leaves_out_one_column(directory):
    lines = shown(directory, 60).splitlines()
    table = lines[: lines.index(next(line for line in lines if line.startswith("4 replicas")))]

    assert max(map(len, table)) <= 60
    assert "ranking loss" not in "".join(table)
    page = presentation.page(summarize(read_sweep(directory)))
    words = set(" ".join(table).split())
    for row in page.rows:
        for number in (1, 2, 4, 5, 6):
            assert set(row[number].text.split()) <= words
