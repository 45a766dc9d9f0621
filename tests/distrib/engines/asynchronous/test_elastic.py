"""Nodes that come and go: their workers take windows, and nothing is lost with them."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from recsys.data.click_log import ClickLog
from tests.support.counting import by_table, counted
from tests.support.elastic import EPOCHS, FEW, OUTCOME

WINDOWS = 38


@pytest.mark.timeout(600)
def test_a_node_joins_and_is_killed_while_training_and_every_example_counts_once(tmp_path) -> None:
    environment = os.environ | {"RAY_health_check_failure_threshold": "3"}

    done = subprocess.run(
        [sys.executable, "-m", "tests.support.elastic", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )

    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / OUTCOME).read_text())
    assert found["workers_before"] == 1
    assert found["workers_with_the_node"] == 2
    assert found["pushes_of_the_node"] > FEW
    assert by_table(found["digests"]) == counted(ClickLog.open(tmp_path / "log"), EPOCHS)
    assert found["windows"] == [list(range(EPOCHS * WINDOWS))] * 2
