"""What must be known of a device before its time is taken."""

from __future__ import annotations

import torch


def wait_for(device: torch.device) -> None:
    """Return when a GPU has done all that it was told to do; the CPU is done by itself."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
