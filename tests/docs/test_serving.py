"""The example of docs/serving.md runs as it is printed."""

from __future__ import annotations

import re

from distrib.engines.local import train
from distrib.trials.results import write_trial
from jobs.export import export
from tests.support.logs import small_log, small_recipe, trials
from tests.support.shared import ROOT

PAGE = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")


def test_the_example_loads_and_asks_an_export(tmp_path, monkeypatch, capsys) -> None:
    log = small_log(tmp_path)
    (trial,) = trials(log, small_recipe(arm={"kind": "single", "activation": "smelu"}), 1)
    (result,) = train(log, [trial])
    place = write_trial(tmp_path, trial, result, keep_weights=True)
    export(place, tmp_path / "exported" / "smelu")
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()

    exec(example, {})

    assert re.fullmatch(r"tensor\(\[0\.\d+, 0\.\d+\]\)\n", capsys.readouterr().out)
