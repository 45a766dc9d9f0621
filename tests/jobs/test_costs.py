"""Estimates: lookups as they will be read, hours as they were measured."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.results.spending import Prices, Spent
from distrib.engines import local
from distrib.scheduling.resources import Probe, probe, trains_alone
from distrib.trials.grouping import Group
from distrib.trials.results import trial_directory, write_trial
from jobs.costs import (
    UNKNOWN,
    ExampleCost,
    actual_summary,
    estimate,
    estimate_summary,
    groups_to_probe,
    lookups_per_example,
    measured_costs,
    probed_costs,
    read_prices,
    shape_of_group,
    shape_of_process,
)
from recsys.data.click_log import ClickLog
from recsys.engines import LocalEngine, Resources
from recsys.errors import ConfigError
from tests.support.logs import small_log, small_recipe, trials


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> ClickLog:
    return small_log(tmp_path_factory.mktemp("costing"))


def group(log: ClickLog, replicas: int = 2, **fields: object) -> Group:
    return Group(title="arm", trials=tuple(trials(log, small_recipe(**fields), replicas)))


@pytest.mark.parametrize(
    "arm",
    [
        {"kind": "single"},
        {"kind": "ensemble", "components": 3},
        {"kind": "self_ensemble", "components": 3},
        {"kind": "distilled", "components": 2, "teacher": "online"},
        {"kind": "distilled", "components": 2, "teacher": "offline"},
    ],
)
def test_lookups_of_the_estimate_are_those_that_training_counts(log, arm):
    (trial,) = group(log, 1, arm=arm).trials

    (trained,) = local.train(log, [trial])

    # Bags differ in length, and an estimate looks at some batches.
    assert lookups_per_example(log, trial) == pytest.approx(trained.cost.train_lookups, rel=0.05)


def test_lookups_are_exact_where_the_sample_holds_every_batch(log):
    (trial,) = group(log, 1, stream={"batch_size": 100}).trials

    (trained,) = local.train(log, [trial])

    assert lookups_per_example(log, trial) == trained.cost.train_lookups


def test_hours_are_those_of_finished_trials_of_the_same_shape(log, tmp_path):
    done = group(log, 1)
    (result,) = local.train(log, done.trials)
    write_trial(tmp_path, done.trials[0], result)
    smoother = group(log, 1, optimizer={"dense_learning_rate": 0.5}, stream={"epochs": 2})

    paces = measured_costs(tmp_path, log)
    (row,) = estimate(log, [smoother], paces, Prices(per_core_hour=100.0))

    examples = 2 * len(log.splits["train"])
    expected = examples / result.cost.train_examples_per_second / 3600
    assert row.basis == "1 finished trial"
    assert row.core_hours == pytest.approx(expected)
    assert row.money == pytest.approx(100 * expected)


@pytest.mark.parametrize(
    ("replicas", "fields"),
    [
        (2, {}),
        (1, {"model": {"hidden": [8, 4]}}),
        (1, {"stream": {"batch_size": 64}}),
        (1, {"engine": {"threads": 2}}),
        (1, {"arm": {"kind": "single", "activation": "smelu(beta=1)"}}),
    ],
)
def test_a_trial_of_another_shape_tells_nothing(log, replicas, fields):
    known = {
        shape_of_group(group(log, 1)): ExampleCost(core_seconds=1, gpu_seconds=0, basis="known")
    }

    (row,) = estimate(log, [group(log, replicas, **fields)], known, Prices(per_core_hour=1))

    assert row.basis == UNKNOWN
    assert math.isnan(row.core_hours)
    assert math.isnan(row.money)


def test_beta_changes_no_shape(log):
    one, other = (
        group(log, arm={"kind": "single", "activation": f"smelu(beta={beta})"}) for beta in (1, 2)
    )

    assert shape_of_group(one) == shape_of_group(other)


def test_trials_on_other_data_and_damaged_ones_do_not_count(log, tmp_path):
    one, other = trials(log, small_recipe(), 2)
    for trial, result in zip((one, other), local.train(log, [one, other]), strict=True):
        write_trial(tmp_path, trial, result)
    config = trial_directory(tmp_path, one) / "config.json"
    config.write_text(config.read_text().replace(log.fingerprint, "other"))
    (trial_directory(tmp_path, other) / "cost.json").write_text("{")

    assert measured_costs(tmp_path, log) == {}


SMELU = {"kind": "single", "activation": "smelu(beta=1)"}


def test_each_shape_is_probed_once_and_none_that_is_known(log):
    known, asked = group(log), group(log, arm=SMELU)
    paces = {shape_of_group(known): ExampleCost(core_seconds=1, gpu_seconds=0, basis="known")}

    found = groups_to_probe([known, asked, group(log, arm=SMELU)], paces, Prices(), requested=True)

    assert list(found.values()) == [asked]


def test_engines_of_as_many_workers_as_one_likes_share_the_probe_of_one_worker(log):
    crews = [group(log, engine={"name": "async", "workers": count}) for count in (2, 8)]
    other = group(log, engine={"name": "async", "threads": 2})

    found = groups_to_probe([*crews, other], {}, Prices(), requested=True)

    assert list(found.values()) == [crews[-1], other]


@pytest.mark.parametrize(
    ("prices", "asked", "probed"),
    [
        (Prices(currency="EUR"), False, 0),
        (Prices(), True, 1),
        (Prices(per_core_hour=0.04), False, 1),
        (Prices(per_gpu_hour=0.0), False, 1),
    ],
)
def test_a_start_probes_where_a_price_is_known_and_a_dry_run_always(log, prices, asked, probed):
    assert len(groups_to_probe([group(log)], {}, prices, requested=asked)) == probed


@pytest.mark.parametrize(
    ("engine", "batch_size"),
    [
        ({"name": "async", "workers": 4}, 30),
        ({"name": "virtual_async", "workers": 4}, 30),
        ({"name": "sync", "workers": 4}, 8),
        ({"name": "sync", "workers": [1, 2]}, 15),
    ],
)
def test_one_process_does_its_part_of_a_batch_with_the_engines_threads_and_device(
    engine, batch_size
):
    engine |= {"threads": 3, "device": "cpu", "resources": {"num_cpus": 2}}
    recipe = small_recipe(stream={"batch_size": 30}, engine=engine)

    alone = trains_alone(recipe)

    assert alone.stream.batch_size == batch_size
    assert alone.engine == LocalEngine(threads=3, device="cpu", resources=Resources(num_cpus=2))
    assert alone.model_copy(update={"stream": recipe.stream, "engine": recipe.engine}) == recipe


def test_what_the_local_engine_trains_is_what_its_process_does():
    recipe = small_recipe()

    assert trains_alone(recipe) is recipe


@pytest.mark.parametrize(
    ("engine", "basis"),
    [
        ({"name": "async", "workers": 4}, "a probe, if workers scale"),
        ({"name": "sync", "workers": 1}, "a probe, if workers scale"),
        ({"name": "virtual_async", "workers": 4}, "a probe, without its store"),
    ],
)
def test_workers_take_what_one_process_takes_for_an_example_and_the_basis_says_what_is_left_out(
    log, engine, basis
):
    crew = group(log, engine=engine)
    paces = {shape_of_process(crew): ExampleCost(core_seconds=3.6, gpu_seconds=0, basis="a probe")}

    (row,) = estimate(log, [crew], paces, Prices(per_core_hour=10))

    assert row.basis == basis
    assert row.core_hours == pytest.approx(2 * len(log.splits["train"]) / 1000)
    assert row.money == pytest.approx(10 * row.core_hours)


def test_finished_trials_of_the_workers_themselves_come_before_a_process_alone(log):
    crew = group(log, engine={"name": "async", "workers": 4})
    paces = {
        shape_of_process(crew): ExampleCost(core_seconds=1, gpu_seconds=0, basis="a probe"),
        shape_of_group(crew): ExampleCost(core_seconds=2, gpu_seconds=0, basis="1 finished trial"),
    }

    (row,) = estimate(log, [crew], paces, Prices())

    assert row.basis == "1 finished trial"


def test_a_failed_probe_gives_its_reason_and_no_hours(log):
    crew = group(log, engine={"name": "async"})
    paces = probed_costs([shape_of_process(crew)], ["ConfigError: engine.device"])

    (row,) = estimate(log, [crew], paces, Prices(per_core_hour=1))

    assert row.basis == "the probe failed: ConfigError: engine.device"
    assert math.isnan(row.money)


@pytest.mark.parametrize(
    ("engine", "batches"), [("local", 30), ("virtual_async", 30), ("async", 30), ("sync", 32)]
)
def test_a_probe_trains_a_few_batches_of_every_phase_and_tells_seconds_an_example(
    log, engine, batches
):
    arm = {"kind": "distilled", "components": 2, "teacher": "offline"}
    offline = group(log, arm=arm, engine={"name": engine})

    found = probe(log, offline.trials)

    assert found.batches == batches
    assert found.core_seconds > 0
    assert found.gpu_seconds == 0


@pytest.mark.usefixtures("ray_cluster")
def test_probes_run_on_ray_and_one_that_fails_gives_its_reason(log):
    from distrib.scheduling.resources import run_probes

    good = group(log)
    bad = group(log, optimizer={"sparse": "adam"})

    found = run_probes(log, [bad.trials, good.trials])
    paces = probed_costs(["bad", "good"], found)

    assert isinstance(found[1], Probe)
    assert math.isnan(paces["bad"].core_seconds)
    assert "ConfigError: optimizer.sparse: found adam on a CPU" in paces["bad"].basis
    assert paces["good"].basis == "a probe of 30 batches"


def test_prices_of_the_command_line_come_before_those_of_the_file(tmp_path):
    file = tmp_path / "prices.yaml"
    file.write_text("per_core_hour: 0.04\nper_gpu_hour: 2.5\ncurrency: EUR\n")

    found = read_prices(file, per_core_hour=0.05)

    assert found == Prices(per_core_hour=0.05, per_gpu_hour=2.5, currency="EUR")


def test_the_shipped_prices_are_read_where_no_file_is_named_and_hold_none(monkeypatch):
    from tests.support.shared import ROOT

    monkeypatch.chdir(ROOT)

    assert read_prices(None) == Prices(currency="USD")


def test_without_any_file_no_price_is_known(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert read_prices(None) == Prices()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("per_core_hour: -1", "per_core_hour: found -1"),
        ("per_core_hours: 1", "did you mean 'per_core_hour'?"),
        ("per_gpu_hour: .inf", "per_gpu_hour: found inf"),
    ],
)
def test_a_wrong_price_is_refused_with_file_and_field(tmp_path: Path, content, says):
    file = tmp_path / "prices.yaml"
    file.write_text(content)

    with pytest.raises(ConfigError) as refused:
        read_prices(file)

    assert str(refused.value).startswith(f"{file}: ")
    assert says in str(refused.value)


def hours_of(*known: bool) -> tuple[Spent, ...]:
    """Return rows of arms a, b, … whose hours are known, or not."""
    return tuple(
        Spent(
            arm=name,
            trials=2,
            lookups=10.0,
            core_hours=0.5 if is_known else math.nan,
            gpu_hours=0.0,
            money=math.nan,
            basis="",
        )
        for name, is_known in zip("abcdefgh", known, strict=False)
    )


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ((True, True), "finished: 4 trials, 20 lookups, 1 core-hours"),
        ((False, False), "finished: 4 trials, 20 lookups, hours unknown"),
        ((True, False, False), "finished: 6 trials, 30 lookups, hours of b, c unknown"),
        ((True, *4 * (False,)), "finished: 10 trials, 50 lookups, hours of 4 of 5 arms unknown"),
    ],
)
def test_the_sum_of_a_bill_is_one_line_that_names_few_arms(known, words):
    assert actual_summary(hours_of(*known), Prices()) == words


def test_what_is_to_be_trained_is_told_with_money_and_what_the_hours_rest_on():
    rows = [
        replace(row, money=2.0, basis="a probe of 30 batches, if workers scale")
        for row in hours_of(True, True)
    ]

    assert estimate_summary(rows, Prices(per_core_hour=4, currency="EUR")) == (
        "to train: 4 trials, 20 lookups, 1 core-hours, 4 EUR"
        " (a probe of 30 batches, if workers scale)"
    )


def test_hours_that_nothing_shows_are_told_with_how_to_know_them():
    rows = [replace(row, basis=UNKNOWN) for row in hours_of(False)]

    assert estimate_summary(rows, Prices()) == (
        "to train: 2 trials, 10 lookups, hours unknown until a trial of each is done"
        " (--dry-run, or a price, measures a few batches first)"
    )
