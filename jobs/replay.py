"""``soloist replay``: trains a recorded trial again and checks that it is bitwise identical."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from typer import Option

from distrib.engines.asynchronous.replay import replay as train_again
from distrib.errors import TrialFailed
from distrib.parameter_store.recording import order_logs
from jobs.command import ArmName, Models, ReplicaNumber, Trust, echo, run
from jobs.trial_lookup import Consent, trial_at
from recsys.data.click_log import ClickLog
from recsys.errors import DataError
from recsys.files import expecting, read_json

_NOT_RECORDED = (
    "; expected a finished trial of the async engine that was recorded "
    "(--record, or engine.record=true)"
)


def replay(
    trial: Annotated[
        str,
        typer.Argument(metavar="TRIAL", help="Directory or URI of a trial; of a sweep with --arm."),
    ],
    data: Annotated[Path, Option("--data", metavar="DIR", help="Click log of the trial.")],
    arm: ArmName = None,
    replica: ReplicaNumber = None,
    model: Models = None,
    trust: Trust = False,
) -> None:
    """Train a trial of the async engine again, in the recorded order of requests to its shards.

    Runs in one process for any number of workers. Prints how many tensors (weights and
    accumulators) are bitwise identical; names those that differ, and exits with status 1. The
    trial must have been recorded: --record, or engine.record=true.
    """
    log = ClickLog.open(data)
    with trial_at(trial, arm, replica) as named:
        _replay(named.directory, log, Consent(models=model or (), trust=trust))


def _replay(trial: Path, log: ClickLog, consent: Consent) -> None:
    digests = read_json(trial / "digests.json", hint=_NOT_RECORDED)
    recorded = consent.read(trial)
    path = trial / "order.parquet"
    with expecting("the order of requests of a recorded trial", path, OSError):
        orders = order_logs(pd.read_parquet(path.absolute()))
    if log.fingerprint != recorded.data_fingerprint:
        raise DataError(f"{log.directory}: not the click log that {trial} was trained on")
    found = train_again(log, recorded, orders)
    different = sorted(
        name for name in digests.keys() | found.keys() if digests.get(name) != found.get(name)
    )
    if different:
        raise TrialFailed(
            f"{trial}: {len(different)} of {len(digests)} tensors differ: {', '.join(different)}"
        )
    steps = sum(len(shard) for phase in orders for shard in phase)
    echo(f"{len(digests)} tensors are bitwise identical after {steps} pulls and pushes")


if __name__ == "__main__":
    run(replay)
