"""Marks for tests that need a device."""

from __future__ import annotations

import pytest
import torch


def needs_gpu(test):
    """Mark a test ``gpu`` and skip it, with the reason, where there is none."""
    skip = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
    return pytest.mark.gpu(skip(test))
