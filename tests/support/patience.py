"""Waiting for what has to come, however slow a machine is."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_S = 240.0
"""For any one thing; it takes seconds where nobody else uses the machine"""


def wait_until(condition: Callable[[], bool]) -> None:
    """Return once a condition holds.

    Raises:
        TimeoutError: it did not come to hold.
    """
    give_up = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > give_up:
            raise TimeoutError(f"waited {PATIENCE_S:g} s")
        time.sleep(0.02)
