"""The benchmark of activations compares each with ReLU on the same input."""

from __future__ import annotations

import pytest
import torch

from jobs.benchmark import activations
from recsys.activations import ACTIVATION_NAMES, SmeLU, get_activation


@pytest.mark.parametrize("seconds", [0.0, 0.02])  # a paused machine may use up all of them
def test_a_comparison_has_a_ratio_within_its_quartiles(seconds: float) -> None:
    found = activations.compare_with_relu(SmeLU(), (3, 4), seconds=seconds)

    assert found.time_us > 0
    assert 0 < found.low <= found.ratio <= found.high


def test_every_activation_but_identity_is_compared() -> None:
    compared = {type(get_activation(name)).__name__.lower() for name in activations.ACTIVATIONS}

    assert compared == set(ACTIVATION_NAMES) - {"identity"}


def test_the_table_names_the_implementation_and_leaves_the_threads_as_they_were(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(activations, "SHAPES", ((2, 3), (5,)))
    monkeypatch.setattr(activations, "smelu_implementation", lambda: "tested here")
    before = torch.get_num_threads()

    activations.activations(seconds=0.01, threads=before + 1)

    printed = capsys.readouterr().out
    assert "tested here" in " ".join(printed.split())
    assert torch.get_num_threads() == before
