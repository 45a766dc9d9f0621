"""Sweeps as a person runs, stops and repeats them."""

from __future__ import annotations

import pytest


def test_a_recorded_sweep_trains_trials_that_keep_their_order(log, tmp_path, monkeypatch):
    trained: list[Group] = []
    monkeypatch.setattr("jobs.sweep.train_groups", lambda *at, **_: trained.extend(at[2]) or [])
    path = write_experiment(tmp_path / "small.yaml", small_experiment(log.directory))

    sweep(str(path), ["engine.name=async"], output=tmp_path / "results", record=True)

    kept = [group.recipe.engine.record for group in trained for _ in group.trials]
    assert kept == [True] * 4


def test_a_sweep_that_has_nothing_to_record_is_refused(experiment, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        guarded(sweep)(experiment, output=tmp_path / "results", record=True)

    assert ended.value.code == 2
    assert "soloist: --record: found engine local for arms.relu" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()
