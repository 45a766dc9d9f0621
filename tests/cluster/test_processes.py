"""The processes of a cluster on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from cluster.local.processes import end_marked, marked


def started(mark: Path, *, deaf: bool = False) -> subprocess.Popen[bytes]:
    """Start a process that waits for ever, and return once it does."""
    trap = "trap '' TERM; " if deaf else ""
    process = subprocess.Popen(
        ["sh", "-c", f"{trap}echo waits; read word"],
        env=os.environ | {"SOLOIST_TEST_MARK": str(mark)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"waits\n"
    return process


def test_what_is_marked_is_ended_and_nothing_else(tmp_path):
    other = started(tmp_path / "other")
    mine, deaf = started(tmp_path), started(tmp_path, deaf=True)
    before = {each.pid for each in marked("SOLOIST_TEST_MARK", str(tmp_path))}

    end_marked("SOLOIST_TEST_MARK", str(tmp_path), patience_s=0.2)

    assert before == {mine.pid, deaf.pid}
    assert marked("SOLOIST_TEST_MARK", str(tmp_path)) == []
    assert (mine.wait(), deaf.wait()) == (-signal.SIGTERM, -signal.SIGKILL)
    assert other.poll() is None
    other.kill()
    other.wait()
