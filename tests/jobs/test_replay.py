"""``soloist replay``: says that a trial comes out the same, or which tensor does not."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from distrib.engines import local
from distrib.engines.asynchronous.leases import Staleness, StalenessHistogram
from distrib.engines.asynchronous.replay import replay as train_again
from distrib.engines.virtual_async import schedule
from distrib.errors import TrialFailed
from distrib.parameter_store.recording import Recording, order_table
from distrib.parameter_store.shard import Served
from distrib.trials.folder import Folder
from distrib.trials.results import write_trial
from jobs.replay import replay
from recsys.engines import ExponentialDelays
from recsys.errors import DataError
from tests.support.logs import TRUTH, small_log, small_recipe, trials


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A trial's directory with an order and the digests that it leads to, and its click log."""
    place = tmp_path_factory.mktemp("recorded")
    log = small_log(place)
    (trial,) = trials(log, small_recipe(engine={"name": "async", "window": 10}), 1)
    events = schedule(4, 2, ExponentialDelays(), np.random.default_rng(0))
    orders = [
        [
            Served(lease=e.window, window=e.window, is_push=e.is_push, applied=e.is_push)
            for e in events
        ]
    ]
    (result,) = local.train(log, trials(log, small_recipe(), 1))
    staleness = StalenessHistogram()
    staleness.add([Staleness(updates=1, examples=320)])
    result = replace(
        result,
        recording=Recording(order=order_table([orders]), digests=train_again(log, trial, [orders])),
        staleness=staleness,
    )
    return write_trial(place, trial, result), log


def test_a_trial_that_comes_out_the_same_is_said_to(recorded, capsys) -> None:
    place, log = recorded

    replay(place, log.directory)

    assert "28 tensors are bitwise identical after 8 pulls and pushes" in capsys.readouterr().out


def test_a_trial_in_an_object_store_comes_out_the_same(recorded, s3, capsys) -> None:
    place, log = recorded
    uri = s3.uri(s3.new_bucket(), f"results/trials/{place.name}")
    for path in place.iterdir():
        Folder(uri).write(path.name, path.read_bytes())

    replay(uri, log.directory)

    assert "28 tensors are bitwise identical after 8 pulls and pushes" in capsys.readouterr().out


def test_a_trial_that_is_not_at_its_uri_is_refused(recorded, tmp_path) -> None:
    with pytest.raises(DataError, match=f"^{tmp_path.as_uri()}: not a finished trial"):
        replay(tmp_path.as_uri(), recorded[1].directory)


def test_a_tensor_that_differs_is_named(recorded, tmp_path) -> None:
    place, log = recorded
    other = tmp_path / "trial"
    other.mkdir()
    for path in place.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    digests = json.loads((other / "digests.json").read_text())
    name = sorted(digests)[3]
    (other / "digests.json").write_text(json.dumps(digests | {name: "0" * 64}))

    with pytest.raises(TrialFailed, match=f"1 of 28 tensors differ: {name}"):
        replay(other, log.directory)


def test_a_trial_that_was_not_recorded_is_refused(recorded, tmp_path) -> None:
    with pytest.raises(DataError, match=r"expected a finished trial .* that was recorded"):
        replay(tmp_path, recorded[1].directory)


def test_another_click_log_is_refused(recorded, tmp_path) -> None:
    other = small_log(tmp_path, replace(TRUTH, seed=5))

    with pytest.raises(DataError, match="not the click log that"):
        replay(recorded[0], other.directory)


def test_staleness_lies_beside_the_trial(recorded) -> None:
    told = json.loads((recorded[0] / "staleness.json").read_text())

    assert told["updates"] == {"pushes": 1, "mean": 1.0, "max": 1, "histogram": {"1": 1}}
    assert told["examples"]["max"] == 320


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", "{"),
        ("config.json", "{}"),
        ("digests.json", "{"),
        ("digests.json", "[]"),
        ("digests.json", "[" * 100_000),
        ("order.parquet", "no parquet"),
    ],
)
def test_a_damaged_recording_is_refused_in_one_line(recorded, tmp_path, name, content) -> None:
    place, log = recorded
    damaged = shutil.copytree(place, tmp_path / "damaged")
    (damaged / name).write_text(content)

    with pytest.raises(DataError) as refused:
        replay(damaged, data=log.directory)

    assert str(damaged) in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda order: order.iloc[:0],
        lambda order: order.drop(columns="lease"),
        lambda order: order.drop(columns="phase"),
        lambda order: order.assign(window=10**6),
        lambda order: order.assign(window=-5),
        lambda order: order.assign(window=None),
        lambda order: order.assign(window="first"),
        lambda order: order.assign(window=0.5),
        lambda order: order.assign(lease=float("nan")),
        lambda order: order.assign(carried=7),
        lambda order: order.assign(phase=range(len(order))),
        lambda order: order[~order["is_push"]],
        lambda order: order[order["is_push"]],
        lambda order: pd.concat([order, order]),
    ],
)
def test_an_order_that_cannot_be_is_refused_in_one_line(recorded, tmp_path, change) -> None:
    place, log = recorded
    damaged = shutil.copytree(place, tmp_path / "damaged")
    path = damaged / "order.parquet"
    change(pd.read_parquet(path)).to_parquet(path)

    with pytest.raises(DataError, match="order") as refused:
        replay(damaged, data=log.directory)

    assert "\n" not in str(refused.value)
