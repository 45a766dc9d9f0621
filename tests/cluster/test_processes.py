"""The processes of a cluster on this machine."""

from __future__ import annotations

import os
import signal
import subprocess

from cluster.local.processes import end_marked, marked
from tests.support.submission import wait_until


def test_what_is_marked_is_ended_and_nothing_else(tmp_path):
    mine, other = (
        subprocess.Popen(["sleep", "100"], env=os.environ | {"SOLOIST_TEST_MARK": value})
        for value in (str(tmp_path), "another")
    )
    deaf = subprocess.Popen(
        ["sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"],
        env=os.environ | {"SOLOIST_TEST_MARK": str(tmp_path)},
    )
    wait_until(lambda: len(marked("SOLOIST_TEST_MARK", str(tmp_path))) >= 2, "both to start")

    end_marked("SOLOIST_TEST_MARK", str(tmp_path), patience_s=0.2)

    assert marked("SOLOIST_TEST_MARK", str(tmp_path)) == []
    assert (mine.wait(), deaf.wait()) == (-signal.SIGTERM, -signal.SIGKILL)
    assert other.poll() is None
    other.kill()
    other.wait()
