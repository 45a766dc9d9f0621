"""Marks for tests that need a device, and a stand-in for one that computes by itself."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from distrib.engines.asynchronous.worker import Worker
from distrib.training.device_transfer import Fetched, Transfer


def needs_gpu(test):
    """Mark a test ``gpu`` and skip it, with the reason, where there is none."""
    skip = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
    return pytest.mark.gpu(skip(test))


class RunsAhead(Transfer):
    """The CPU, taken for a device that computes while the host goes on.

    What is fetched is said to be on its way the first ``looks`` times that one looks.
    """

    def __init__(self, looks: int) -> None:
        super().__init__(torch.device("cpu"))
        self._looks = looks

    @property
    def runs_ahead(self) -> bool:
        return True

    def fetch(self, what: Sequence[Tensor]) -> Fetched:
        return Fetched(what=tuple(what), arrived=_Looked(self._looks))  # type: ignore[arg-type]


class _Looked:
    """What a CUDA event is asked."""

    def __init__(self, looks: int) -> None:
        self._left = looks

    def query(self) -> bool:
        self._left -= 1
        return self._left < 0

    def synchronize(self) -> None:
        self._left = 0


class WorkerThatRunsAhead(Worker):
    """Goes about its windows as on a GPU, which computes while the host prepares the next."""

    def make_transfer(self) -> Transfer:
        return RunsAhead(4)
