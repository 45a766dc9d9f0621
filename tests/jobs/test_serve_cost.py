"""``soloist serve-cost``: several arms, trained or exported, on the same requests."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from distrib.engines.local import train
from distrib.trials.results import write_trial
from jobs.command import BAD_INPUT, exit_on_error
from jobs.export import export
from jobs.serve_cost import serve_cost
from recsys.errors import DataError
from tests.support.logs import TRUTH, small_log, small_recipe, trials
from tests.support.sweeps import write_manifest_of


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return small_log(tmp_path_factory.mktemp("log"))


@pytest.fixture(scope="module")
def kept(log, tmp_path_factory):
    """The directories of a single SmeLU's trial and of a ReLU ensemble's, below one sweep's."""
    place = tmp_path_factory.mktemp("trials")
    arms = [
        {"kind": "single", "activation": "smelu(beta=1)"},
        {"kind": "ensemble", "components": 3},
    ]
    found = []
    for arm in arms:
        (trial,) = trials(log, small_recipe(arm=arm), 1)
        (result,) = train(log, [trial])
        found.append(str(write_trial(place, trial, result, keep_weights=True)))
    return found


def test_a_trial_and_an_export_are_measured_in_one_run_and_their_lookups_counted(
    kept, log, tmp_path, capsys
):
    single, ensemble = kept
    export(ensemble, tmp_path / "ensemble")
    threads = torch.get_num_threads()

    serve_cost(
        [single, str(tmp_path / "ensemble")],
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

    with pytest.raises(DataError, match="found other features than those of"):
        serve_cost(kept, data=other.directory)


@pytest.mark.parametrize(
    "table", [{"features": ["unheard of"]}, {"rows": "x", "embedding_dim": None}, {"features": [3]}]
)
def test_a_program_of_which_a_table_is_misdescribed_is_one_line(kept, log, tmp_path, capsys, table):
    export(kept[0], tmp_path / "program")
    told = json.loads((tmp_path / "program/program.json").read_text())
    told["tables"][0] |= table
    (tmp_path / "program/program.json").write_text(json.dumps(told))

    with pytest.raises(SystemExit) as stopped:
        exit_on_error(serve_cost)([str(tmp_path / "program")], data=log.directory, requests=1)

    (line,) = capsys.readouterr().err.splitlines()
    assert stopped.value.code == BAD_INPUT
    assert f"{tmp_path / 'program'}: not programs that serve these requests (" in line


@pytest.mark.parametrize("at", ["path", "uri"])
def test_arms_of_a_sweep_are_measured_by_their_names_in_the_order_named(kept, log, tmp_path, at):
    single, ensemble = kept
    sweep = write_manifest_of(
        Path(single).parents[1],
        {"smelu": [f"trials/{Path(single).name}"], "three": [f"trials/{Path(ensemble).name}"]},
    )

    serve_cost(
        [sweep.as_uri() if at == "uri" else str(sweep)],
        data=log.directory,
        arm=["three", "smelu"],
        batch=[2],
        requests=2,
        output=tmp_path / "cost.json",
    )

    first, second = json.loads((tmp_path / "cost.json").read_text())["arms"]
    assert [first["name"], second["name"]] == ["three, replica 0", "smelu, replica 0"]
    assert [first["title"], second["title"]] == ["ensemble relu K=3", "single smelu(beta=1)"]
    assert first["path"].endswith(ensemble)
    assert first["path"].startswith("file://") == (at == "uri")


@pytest.mark.parametrize(("place", "found"), [("file/cost.json", "a|exists"), ("", "a directory")])
def test_figures_that_could_not_be_written_are_refused_before_anything_is_measured(
    kept, tmp_path, capsys, place, found
):
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(SystemExit) as ended:
        # Not even the click log is opened: there is none.
        exit_on_error(serve_cost)(kept, data=tmp_path / "none", output=tmp_path / place)

    told = capsys.readouterr()
    assert ended.value.code == BAD_INPUT
    assert re.fullmatch(rf"soloist: --json {tmp_path / place}: found .*({found}).*\n", told.err)
    assert told.out == ""
