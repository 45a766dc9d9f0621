"""Ending processes for sure."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from distrib.scheduling.processes import end, name_of, own_name
from tests.support.patience import PATIENCE_S


@pytest.fixture
def sleeper():
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        yield process
        process.kill()


def test_a_process_has_the_same_name_as_long_as_it_lives(sleeper) -> None:
    assert name_of(sleeper.pid) == name_of(sleeper.pid)
    assert name_of(os.getpid()) == own_name() != name_of(sleeper.pid)


def test_a_stopped_process_is_ended(sleeper) -> None:
    name = name_of(sleeper.pid)
    sleeper.send_signal(signal.SIGSTOP)

    assert end(name, PATIENCE_S)

    assert sleeper.wait() == -signal.SIGKILL


def test_a_process_that_has_ended_needs_no_ending(sleeper) -> None:
    name = name_of(sleeper.pid)
    sleeper.kill()
    sleeper.wait()

    assert name_of(sleeper.pid) is None
    assert end(name, PATIENCE_S)


def test_a_later_process_of_the_same_number_is_left_alone(sleeper) -> None:
    earlier = replace(name_of(sleeper.pid), started=1)

    assert end(earlier, PATIENCE_S)

    assert sleeper.poll() is None
