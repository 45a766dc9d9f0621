"""The virtual_async engine: the local engine with one worker, and repeatable with many."""

from __future__ import annotations

import numpy as np
import pytest

from distrib.engines import train
from recsys.errors import ConfigError
from recsys.seeds import Source
from tests.distrib.test_local import ARMS
from tests.support.logs import small_log, small_recipe, trials


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return small_log(tmp_path_factory.mktemp("virtual"))


def asynchronous(workers: int, window: int = 1, **fields: object) -> dict[str, object]:
    return {"name": "virtual_async", "workers": workers, "window": window, **fields}


@pytest.mark.parametrize("arm", ARMS.values(), ids=ARMS.keys())
@pytest.mark.parametrize("window", [1, 3])
def test_one_worker_trains_what_the_local_engine_trains(log, arm, window) -> None:
    one_worker = small_recipe(arm=arm, engine=asynchronous(1, window))

    found = train(log, trials(log, one_worker, 2))

    # A store adds what changed, in float32: after - before may round where training did not.
    for virtual, local in zip(found, train(log, trials(log, small_recipe(arm=arm), 2)), strict=True):
        np.testing.assert_allclose(virtual.logit, local.logit, atol=1e-4)
        assert virtual.staleness.as_dict()["updates"]["max"] == 0
