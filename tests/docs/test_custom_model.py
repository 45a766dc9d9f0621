"""The examples of docs/custom-model.md run as they are printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from distrib.engines.local import train
from recsys.config import Recipe
from tests.support.experiments import small_experiment, write_experiment
from tests.support.logs import TRUTH, small_log, small_recipe, trials
from tests.support.shared import ROOT

PAGE = (ROOT / "docs" / "custom-model.md").read_text(encoding="utf-8")
MODULES = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, re.DOTALL)
(MODEL,) = re.findall(r"```yaml\nmodel:\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def modules(tmp_path, monkeypatch):
    for name, source in MODULES:
        (tmp_path / name).write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name, _ in MODULES:
        sys.modules.pop(name.removesuffix(".py"), None)


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize(
    "model", [yaml.safe_load(MODEL), {"name": "my_dlrm:make", "embedding_dim": 8}]
)
def test_an_example_trains_as_an_arm(tmp_path, model) -> None:
    log = small_log(tmp_path, replace(TRUTH, rows=400))
    arm = {"kind": "ensemble", "components": 2, "activation": "smelu(beta=0.5)"}
    recipe = Recipe.model_validate(small_recipe().model_dump() | {"arm": arm, "model": model})

    first, second = train(log, trials(log, recipe, 2))

    tables_read = len(log.schema.single_valued) + TRUTH.longest_bag / 2
    assert first.cost.serve_lookups == pytest.approx(2 * tables_read, rel=0.2)
    assert (first.logit != second.logit).any()


SCRIPT = "import sys; from soloist import main; sys.exit(main())"
"""What an installer writes as ``soloist``. Python puts the script's own directory on the path."""


def soloist(script: Path, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    script.parent.mkdir()
    script.write_text(SCRIPT, encoding="utf-8")
    return subprocess.run(
        [sys.executable, str(script), *arguments],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_installed_command_finds_a_model_in_the_working_directory(tmp_path) -> None:
    log = small_log(tmp_path, replace(TRUTH, rows=400))
    document = small_experiment(log.directory, replicas=1)
    document["defaults"]["model"] = yaml.safe_load(MODEL)
    document["arms"] = {"relu": {"activation": "relu"}}
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "my_models.py").write_text(dict(MODULES)["my_models.py"], encoding="utf-8")
    write_experiment(folder / "mine.yaml", document)

    ran = soloist(
        tmp_path / "bin" / "soloist", "sweep", "mine.yaml", "--output", "out", folder=folder
    )

    assert ran.returncode == 0, ran.stderr
    assert len(list(folder.glob("out/trials/*/DONE"))) == 1
