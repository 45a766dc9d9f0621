"""Where a result comes from: code, libraries, machine, seeds."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import recsys
from distrib.trials.trial import Trial, code_digest, library_versions


def provenance(trial: Trial, device: torch.device, *, fused_replicas: int) -> dict[str, Any]:
    """Return what ``provenance.json`` holds."""
    return {
        "soloist": recsys.__version__,
        "code": code_digest(trial.recipe.model),
        "libraries": library_versions() | {"python": platform.python_version()},
        "machine": machine(device),
        "threads": torch.get_num_threads(),
        "matmul_precision": torch.get_float32_matmul_precision(),
        "fused_replicas": fused_replicas,
        "seeds": asdict(trial.seeds),
    }


def machine(device: torch.device) -> dict[str, Any]:
    """Return what this machine is, as a measurement names it."""
    return {
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "platform": platform.platform(),
        "device": str(device),
        "accelerator": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


def _processor() -> str:
    """Return the processor's name as the system tells it."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass  # not Linux: the platform module knows what there is to know
    return platform.processor() or platform.machine()
