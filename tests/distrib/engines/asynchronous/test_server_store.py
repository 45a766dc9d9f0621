"""The server store at its beginning, without Ray: what the driver cannot hold is refused."""

from __future__ import annotations

import pytest

from distrib.engines.asynchronous import stores
from distrib.engines.asynchronous.stores import ServerStore
from recsys.errors import ConfigError
from tests.support.logs import small_log, small_recipe, trials

OFFLINE = {"kind": "distilled", "components": 2, "teacher": "offline"}


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return small_log(tmp_path_factory.mktemp("server"))


@pytest.fixture(scope="module")
def trial(log):
    stateless = {"sparse": "sgd", "dense": "sgd"}
    recipe = small_recipe(arm=OFFLINE, optimizer=stateless, engine={"name": "async"})
    return trials(log, recipe, 1)[0]


def begun(log, trial, phase: int, store: ServerStore | None = None) -> ServerStore:
    store = store or ServerStore(log, trial, trial.recipe.engine)
    store.begin(phase, trial.recipe.arm.phases[phase])
    return store


@pytest.fixture(scope="module")
def largest(log, trial) -> int:
    """Return the bytes of all weights of the larger phase; SGD has nothing beside them."""
    store, found = None, []
    for phase in range(2):
        store = begun(log, trial, phase, store)
        tables = [bag.weight for bag in store.arm().embeddings.embedding_bags.values()]
        weights = [*tables, *store.arm().dense.parameters()]
        found.append(sum(weight.numel() * weight.element_size() for weight in weights))
    assert found[0] != found[1]
    return max(found)


def test_a_model_of_which_the_driver_can_hold_five_copies_is_taken(
    log, trial, largest, monkeypatch
) -> None:
    monkeypatch.setattr(stores, "available_bytes", lambda: 5 * largest)

    begun(log, trial, 0)


def test_one_of_which_it_cannot_is_refused_by_its_largest_phase(
    log, trial, largest, monkeypatch
) -> None:
    monkeypatch.setattr(stores, "available_bytes", lambda: 5 * largest - 1)

    with pytest.raises(ConfigError, match=r"store: server needs .* GB on the driver's node, for 5"):
        begun(log, trial, 0)
