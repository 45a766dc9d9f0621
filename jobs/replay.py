"""``soloist replay``: train a recorded trial again, and prove that it comes out the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from typer import Option

from distrib.errors import TrialFailed
from distrib.replay import replay as train_again
from distrib.results import read_trial
from distrib.store.recording import order_logs
from distrib.trial import Trial
from jobs.arguments import OfArm, OfReplica
from jobs.command import run, say
from jobs.trials import trial_at
from recsys.data.click_log import ClickLog
from recsys.errors import DataError


def replay(
    trial: Annotated[
        str,
        typer.Argument(
            metavar="TRIAL", help="A trial's directory or URI; or a sweep's, with --arm."
        ),
    ],
    data: Annotated[Path, Option("--data", metavar="DIR", help="Its click log.")],
    arm: OfArm = None,
    replica: OfReplica = None,
) -> None:
    """Train a trial of the async engine again, in the order in which its shards served.

    In one process, whatever the number of workers was: the order alone decides. Prints how many
    tensors are equal to the bit, weights and accumulators; if one is not, names it and ends with
    status 1. The trial must have been recorded: --record, or engine.record=true.
    """
    log = ClickLog.open(data)
    with trial_at(trial, arm, replica) as named:
        _replay(named.directory, log)


def _replay(trial: Path, log: ClickLog) -> None:
    """Train a trial again and tell what came out.

    Raises:
        DataError: the trial was not recorded, or on another click log.
        TrialFailed: a tensor differs.
    """
    recorded, orders, digests = _read(trial)
    if log.fingerprint != recorded.data_fingerprint:
        raise DataError(f"{log.directory}: not the click log that {trial} was trained on")
    found = train_again(log, recorded, order_logs(orders))
    different = sorted(
        name for name in digests.keys() | found.keys() if digests.get(name) != found.get(name)
    )
    if different:
        raise TrialFailed(
            f"{trial}: {len(different)} of {len(digests)} tensors differ: {', '.join(different)}"
        )
    say(f"{len(digests)} tensors are equal to the bit after {len(orders)} pulls and pushes")


def _read(place: Path) -> tuple[Trial, pd.DataFrame, dict[str, str]]:
    try:
        digests = json.loads((place / "digests.json").read_text())
        orders = pd.read_parquet((place / "order.parquet").absolute())
    except FileNotFoundError as error:
        raise DataError(
            f"{error.filename}: not there; expected a finished trial of the async engine "
            "that was recorded (--record, or engine.record=true)"
        ) from None
    except ValueError as error:  # pyarrow's is one, and json's
        first = str(error).splitlines()[0]
        raise DataError(f"{place}: not a whole recorded trial ({first})") from None
    return read_trial(place), orders, digests


if __name__ == "__main__":
    run(replay)
