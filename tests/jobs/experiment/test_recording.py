"""``--record`` has every training keep its order, or is refused before any begins."""

from __future__ import annotations

import pytest

from jobs.experiment.loading import parse_experiment
from jobs.experiment.planning import recorded
from jobs.experiment.schema import Experiment
from recsys.errors import ConfigError
from tests.support.experiments import small_experiment


def experiment(**engine: object) -> Experiment:
    """Return an experiment whose arm smelu has an engine of its own."""
    document = small_experiment("log")
    document["arms"]["smelu"]["engine"] = engine
    return parse_experiment(document)


def test_the_arms_asked_for_keep_their_order_and_nothing_else_changes():
    asked = experiment(name="async", workers=2, window=10)

    found = recorded(asked, ["smelu"])

    assert found.arms["relu"] == asked.arms["relu"]
    assert found == experiment(name="async", workers=2, window=10, record=True)


@pytest.mark.parametrize("engine", ["local", "virtual_async", "sync"])
def test_an_engine_that_keeps_no_order_is_refused(engine):
    with pytest.raises(ConfigError) as refused:
        recorded(experiment(name=engine), ["smelu"])

    assert str(refused.value) == (
        f"--record: found engine {engine} for arms.smelu, expected async: no other engine has an "
        "order of pulls and pushes to record"
    )


def test_workers_that_share_memory_are_refused():
    shared = experiment(name="async", store="shared_memory")

    with pytest.raises(ConfigError, match=r"^arms\.smelu\.engine: record: found True, expected F"):
        recorded(shared, ["smelu"])
