"""The async engine on Ray: one worker is the local engine; failures end a trial with a reason."""

from __future__ import annotations

import numpy as np
import pytest

from distrib.engines.asynchronous.replay import replay
from distrib.engines.registry import train
from distrib.errors import TrialFailed
from distrib.parameter_store.recording import order_logs
from distrib.trials.trial import library_versions
from recsys.errors import ConfigError, DataError
from tests.support.logs import own_recipe, small_log, small_recipe, trials

pytestmark = [pytest.mark.usefixtures("ray_cluster"), pytest.mark.timeout(600)]
OFFLINE = {"kind": "distilled", "components": 2, "teacher": "offline"}


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return small_log(tmp_path_factory.mktemp("async"))


def asynchronous(workers: int, **fields: object) -> dict[str, object]:
    # Nobody is missed for being slow.
    settings = {"name": "async", "workers": workers, "window": 3, "shards": 2, "lease_s": 600}
    return settings | fields


def test_one_worker_trains_what_the_local_engine_trains(log) -> None:
    told: list[int] = []
    one_worker = small_recipe(arm=OFFLINE, engine=asynchronous(1, max_staleness=0))

    (found,) = train(log, trials(log, one_worker, 1), on_progress=told.append)

    (local,) = train(log, trials(log, small_recipe(arm=OFFLINE), 1))
    # A store adds what changed, in float32: after - before may round where training did not.
    np.testing.assert_allclose(found.logit, local.logit, atol=1e-4)
    assert found.staleness.as_dict()["updates"]["max"] == 0
    assert sum(told) == 2 * len(log.splits["train"])
    assert found.cost.train_lookups == local.cost.train_lookups
    assert found.progress["examples"].iloc[-1] == len(log.splits["train"])
    seconds = found.provenance["workers"]["seconds_per_window"]
    assert min(seconds[part] for part in ("prepare", "pull", "compute", "push", "shard")) > 0


class Stopped(Exception):
    """What a test stops a training with."""


def stop_after(log, trial, *, epochs: float) -> None:
    """Train a trial until so many epochs are told, then interrupt it."""
    told: list[int] = []

    def tell(examples: int) -> None:
        told.append(examples)
        if sum(told) > epochs * len(log.splits["train"]):
            raise Stopped

    with pytest.raises(Stopped):
        train(log, [trial], on_progress=tell)


def test_training_that_goes_on_in_its_second_phase_is_to_the_bit_training_never_stopped(
    log, s3, monkeypatch
) -> None:
    bucket = s3.new_bucket()
    fields = {"snapshots": s3.uri(bucket, "here"), "snapshot_every": 4, "record": True}
    recipe = small_recipe(arm=OFFLINE, engine=asynchronous(1, **fields))
    (trial,) = trials(log, recipe, 1)
    stop_after(log, trial, epochs=1.8)
    names = s3.names(bucket)
    phases = {name.split("/")[-2][0] for name in names if name.endswith("manifest.json")}
    told: list[int] = []

    with monkeypatch.context() as elsewhere:
        older = library_versions() | {"torch": "1.0.0"}
        elsewhere.setattr("distrib.parameter_store.snapshots.library_versions", lambda: older)
        with pytest.raises(
            DataError, match=r"found a snapshot made by torch .* torch 1.0.0, which"
        ):
            train(log, [trial])
    (resumed,) = train(log, [trial], on_progress=told.append)

    never_stopped = replay(log, trial, order_logs(resumed.recording.order))
    assert phases == {"1"}
    assert not any(name.endswith("owner.json") for name in names)
    assert never_stopped == resumed.recording.digests
    assert sum(told) == len(log.splits["train"])
    assert resumed.progress["examples"].iloc[-1] == len(log.splits["train"])
    assert resumed.provenance["snapshots_passed_over"] == []


def test_workers_that_would_wait_for_each_other_forever_are_refused(log) -> None:
    recipe = small_recipe(engine=asynchronous(3, start_with=3))

    with pytest.raises(ConfigError, match=r"^engine.threads: found 3 CPU, expected at most 2"):
        train(log, trials(log, recipe, 1))


def test_statistics_of_batches_are_refused_before_anything_starts(log) -> None:
    recipe = own_recipe("uneven", engine=asynchronous(2))

    with pytest.raises(ConfigError, match=r"^model: found the buffer .*batch norm\)$"):
        train(log, trials(log, recipe, 1))


def test_a_loss_that_is_not_finite_is_tried_twice_and_then_fails_the_trial(log) -> None:
    recipe = small_recipe(
        optimizer={"dense": "sgd", "dense_learning_rate": 1e30, "sparse": "sgd"},
        engine=asynchronous(2),
    )

    with pytest.raises(TrialFailed, match=r"window \d+ .*found NaN or infinity"):
        train(log, trials(log, recipe, 1))
