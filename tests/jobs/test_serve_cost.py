"""``soloist serve-cost``: several arms, trained or exported, on the same requests."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from distrib.local import train
from distrib.results import write_trial
from jobs.export import export
from jobs.serve_cost import serve_cost
from recsys.errors import DataError
from tests.support.logs import TRUTH, small_log, small_recipe, trials


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return small_log(tmp_path_factory.mktemp("log"))


@pytest.fixture(scope="module")
def kept(log, tmp_path_factory):
    """The directories of a single SmeLU's trial and of a ReLU ensemble's."""
    place = tmp_path_factory.mktemp("trials")
    arms = [
        {"kind": "single", "activation": "smelu(beta=1)"},
        {"kind": "ensemble", "components": 3},
    ]
    found = []
    for arm in arms:
        (trial,) = trials(log, small_recipe(arm=arm), 1)
        (result,) = train(log, [trial])
        found.append(write_trial(place, trial, result, keep_weights=True))
    return found


def test_a_trial_and_an_export_are_measured_in_one_run_and_their_lookups_counted(
    kept, log, tmp_path, capsys
):
    single, ensemble = kept
    export(ensemble, tmp_path / "ensemble")
    threads = torch.get_num_threads()

    serve_cost(
        [single, tmp_path / "ensemble"],
        data=log.directory,
        batch=[1, 4],
        requests=5,
        threads=threads + 1,
        output=tmp_path / "cost.json",
    )

    printed = capsys.readouterr().out
    told = json.loads((tmp_path / "cost.json").read_text())
    first, second = told["arms"]
    assert [first["title"], second["title"]] == ["single smelu(beta=1)", "ensemble relu K=3"]
    assert [cost["batch_size"] for cost in second["costs"]] == [1, 4]
    assert [cost["ratio"] for cost in first["costs"]] == [1, 1]
    assert all(
        0 < cost["p50_us"] <= cost["p99_us"] for arm in told["arms"] for cost in arm["costs"]
    )
    # Bags have 1 to 3 ids, and each request was answered by both.
    assert all(4 <= cost["lookups"] <= 6 for cost in first["costs"])
    assert [cost["lookups"] for cost in second["costs"]] == pytest.approx(
        [3 * cost["lookups"] for cost in first["costs"]]
    )
    assert told["threads"] == threads + 1
    assert torch.get_num_threads() == threads
    assert told["machine"]["processor"] in printed
    assert "ensemble relu K=3" in printed


def test_a_click_log_of_other_features_is_refused(kept, tmp_path):
    other = small_log(tmp_path, replace(TRUTH, cardinalities=(41, 12, 5)))

    with pytest.raises(DataError, match="has not the features that"):
        serve_cost(kept, data=other.directory)
