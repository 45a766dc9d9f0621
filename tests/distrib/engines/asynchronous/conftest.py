"""What tests of trainings that are disturbed in the middle share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from distrib.engines.asynchronous import phase_runner as generation
from tests.support.dispatchers import gated_dispatcher, open_gate


@pytest.fixture
def gate(tmp_path, monkeypatch) -> Iterator[Path]:
    """Return a gate, shut, before all dispatchers; a test that fails leaves nobody before it."""
    gate = tmp_path / "gate"
    open_gate(gate, 0)
    monkeypatch.setattr(generation, "Dispatcher", gated_dispatcher(gate))
    yield gate
    open_gate(gate, 1 << 30)
