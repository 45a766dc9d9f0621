"""What trainings took, read from trials, and what that costs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.errors import ResultsError
from analysis.results.files import CostFile
from analysis.results.reading import Trial, Trials, read_sweep
from analysis.results.spending import (
    Prices,
    Spending,
    actual,
    read_spending,
    total,
    usage,
    write_spending,
)
from tests.support.results import write_sweep


def trial(place: Path, **engine: Any) -> Trial:
    """Write a trial of 3600 examples at two a second, in a process of three threads."""
    place.mkdir(parents=True)
    device = engine.pop("device", "cpu")
    engine = {"name": "local"} | engine
    for name, contents in {
        "cost.json": dict.fromkeys(CostFile.model_fields, 1.0)
        | {"train_examples_per_second": 2.0, "train_lookups": 5.0},
        "config.json": {"recipe": {"engine": engine}},
        "provenance.json": {"threads": 3, "machine": {"device": device}},
    }.items():
        (place / name).write_text(json.dumps(contents))
    pd.DataFrame({"examples": [1800, 3600]}).to_parquet(place / "progress.parquet")
    return Trial(directory=place, replica=0)


def arm(*trials: Trial) -> Trials:
    return Trials(name="relu", places=tuple(t.directory for t in trials), done=trials)


def test_a_trial_takes_its_share_of_the_time_on_each_of_its_threads(tmp_path):
    used = usage(trial(tmp_path / "one"))

    assert used is not None
    assert used.examples == 3600
    assert used.lookups == 18_000
    assert used.core_seconds == 1800 * 3
    assert used.gpu_seconds == 0


@pytest.mark.parametrize(
    ("engine", "cores", "gpus"),
    [
        ({"device": "cuda:0"}, 1.5, 0.5),
        ({"name": "async", "workers": 4}, 6, 0),
        ({"name": "sync", "workers": 2, "device": "cuda"}, 3, 1),
        ({"name": "virtual_async", "workers": 64}, 1.5, 0),
    ],
)
def test_hours_are_counted_for_each_process_that_trains(tmp_path, engine, cores, gpus):
    (row,) = actual([arm(trial(tmp_path / "one", **engine))], Prices())

    assert (row.core_hours, row.gpu_hours) == (cores, gpus)


def test_hours_of_ranks_that_may_come_and_go_are_unknown(tmp_path):
    (row,) = actual([arm(trial(tmp_path / "one", name="sync", workers=[1, 4]))], Prices())

    assert math.isnan(row.core_hours)
    assert row.lookups == 18_000


def test_a_trial_that_two_rows_share_is_paid_once(tmp_path):
    first, second = trial(tmp_path / "one"), trial(tmp_path / "two")

    rows = actual([arm(first), arm(first, second)], Prices(per_core_hour=2.0))

    assert [row.trials for row in rows] == [1, 1]
    assert total(rows).core_hours == 3.0
    assert total(rows).money == 6.0


def test_trials_that_do_not_tell_leave_the_hours_unknown_and_are_named(tmp_path):
    sweep = read_sweep(write_sweep(tmp_path))

    rows = actual(sweep.arms, Prices(per_core_hour=1.0))

    assert {row.basis for row in rows} == {"4 trials without a record"}
    assert math.isnan(total(rows).core_hours)
    assert math.isnan(total(rows).money)


@pytest.mark.parametrize(
    ("core", "gpu", "core_hours", "gpu_hours", "money"),
    [
        (0.5, None, 4, 0, 2.0),
        (None, 3.0, 4, 2, 6.0),
        (0.5, 3.0, 4, 2, 8.0),
        (None, 3.0, 4, 0, None),
        (0.5, None, 4, 2, None),
        (None, None, 4, 0, None),
    ],
)
def test_money_is_known_where_all_prices_it_needs_are(core, gpu, core_hours, gpu_hours, money):
    found = Prices(per_core_hour=core, per_gpu_hour=gpu).money(core_hours, gpu_hours)

    assert math.isnan(found) if money is None else found == money


def test_what_is_written_is_read_again_with_what_is_unknown(tmp_path):
    rows = actual([arm(trial(tmp_path / "one"))], Prices(per_gpu_hour=1.0, currency="EUR"))
    told = Spending(prices=Prices(per_gpu_hour=1.0, currency="EUR"), estimated=(), actual=rows)

    write_spending(tmp_path, told)
    found = read_spending(tmp_path)

    assert found is not None
    assert found.prices == told.prices
    assert found.actual[0].core_hours == 1.5
    assert math.isnan(found.actual[0].money)


def test_a_directory_without_the_file_tells_nothing_and_a_damaged_one_is_refused(tmp_path):
    assert read_spending(tmp_path) is None
    (tmp_path / "sweep_cost.json").write_text('{"prices": {}}')

    with pytest.raises(ResultsError, match=r"sweep_cost\.json: estimated: found nothing"):
        read_spending(tmp_path)


def test_a_trial_with_a_damaged_file_is_refused(tmp_path):
    damaged = trial(tmp_path / "one")
    (tmp_path / "one" / "provenance.json").write_text("{}")

    with pytest.raises(ResultsError, match=r"one/provenance\.json: machine: found nothing"):
        usage(damaged)
