"""The DLRM reference trainer (facebookresearch/dlrm, ``dlrm_s_pytorch.py``), run from a checkout.

It reads the same examples, as the file that it makes of Criteo's Kaggle logs, and trains the same
net. Its rate is its own figure, ms per iteration, which leaves out its loading of data.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recsys.data.click_log import ClickLog
from recsys.errors import ConfigError

SCRIPT = "dlrm_s_pytorch.py"
_ITERATION = re.compile(r"Finished training it (\d+)/\d+ of epoch 0, ([\d.]+) ms/it")
_PARTS = 7  # it takes Kaggle's logs for seven days, the last of which it keeps for testing
_PRINTS = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """A checkout, and the examples as it reads them."""

    checkout: Path
    file: Path
    cardinalities: tuple[int, ...]
    batches: int


def check(checkout: Path) -> None:
    """Refuse a folder without the trainer.

    Raises:
        ConfigError: says which file is not there.
    """
    if not (checkout / SCRIPT).exists():
        raise ConfigError(
            f"--dlrm {checkout}: found no {SCRIPT}, expected a checkout of facebookresearch/dlrm"
        )


def prepared(checkout: Path, log: ClickLog, scratch: Path, batch_size: int) -> Reference:
    """Write the training split as the trainer reads it."""
    rows = log.splits["train"]
    examples = slice(rows.start, rows.stop)
    file = scratch / "processed.npz"
    np.savez(
        file,
        # It takes log(x + 1) of what it reads.
        X_int=np.expm1(log.dense[examples]),
        X_cat=log.ids[examples],
        y=log.label[examples].astype(np.int32),
        counts=np.array([feature.cardinality for feature in log.schema.sparse]),
    )
    tested = batch_size
    trained = np.diff(np.linspace(0, len(rows) - tested, _PARTS).astype(np.int64))
    np.savez(scratch / "data_day_count.npz", total_per_file=[*trained, tested])
    return Reference(
        checkout=checkout,
        file=file,
        cardinalities=tuple(feature.cardinality for feature in log.schema.sparse),
        batches=(len(rows) - tested) // batch_size,
    )


def rate(
    reference: Reference, *, bottom: str, top: str, width: int, batch_size: int, optimizer: str
) -> float:
    """Train one pass on one thread and return the examples per second of its second half.

    Raises:
        ConfigError: it does not run here; says what it said last.
    """
    arguments = {
        "arch-sparse-feature-size": width,
        "arch-mlp-bot": bottom,
        "arch-mlp-top": top,
        "arch-embedding-size": "-".join(map(str, reference.cardinalities)),
        "data-generation": "dataset",
        "data-set": "kaggle",
        "data-randomize": "none",
        "processed-data-file": reference.file,
        "raw-data-file": reference.file.with_name("data.txt"),
        "loss-function": "bce",
        "round-targets": True,
        "learning-rate": 0.02,
        "optimizer": optimizer,
        "mini-batch-size": batch_size,
        "print-freq": max(reference.batches // _PRINTS, 1),
    }
    command = [sys.executable, SCRIPT, "--print-time"]
    command += [f"--{name}={value}" for name, value in arguments.items()]
    ran = subprocess.run(
        command,
        cwd=reference.checkout,
        env=os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return rate_in(ran.stdout, ran.stderr, batch_size)


def rate_in(printed: str, complaints: str, batch_size: int) -> float:
    """Return the examples per second of the second half of what the trainer printed.

    Raises:
        ConfigError: it printed no time.
    """
    told = [float(ms) for _, ms in _ITERATION.findall(printed)]
    if not told:
        last = (complaints.strip().splitlines() or ["nothing"])[-1]
        raise ConfigError(f"{SCRIPT} printed no times; its last words: {last}")
    late = told[len(told) // 2 :]
    return 1000 * batch_size / float(np.mean(late))
