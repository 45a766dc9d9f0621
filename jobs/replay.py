"""``soloist replay``: train a recorded trial again, and prove that it comes out the same."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from typer import Option

from distrib.engines.asynchronous.replay import replay as train_again
from distrib.errors import TrialFailed
from distrib.parameter_store.recording import order_logs
from jobs.command import Models, OfArm, OfReplica, Trust, run, say
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
        typer.Argument(
            metavar="TRIAL", help="A trial's directory or URI; or a sweep's, with --arm."
        ),
    ],
    data: Annotated[Path, Option("--data", metavar="DIR", help="Its click log.")],
    arm: OfArm = None,
    replica: OfReplica = None,
    model: Models = None,
    trust: Trust = False,
) -> None:
    """Train a trial of the async engine again, in the order in which its shards served.

    In one process, whatever the number of workers was: the order alone decides. Prints how many
    tensors are equal to the bit, weights and accumulators; if one is not, names it and ends with
    status 1. The trial must have been recorded: --record, or engine.record=true.
    """
    log = ClickLog.open(data)
    with trial_at(trial, arm, replica) as named:
        _replay(named.directory, log, Consent(models=model or (), trust=trust))


def _replay(trial: Path, log: ClickLog, consent: Consent) -> None:
    """Train a trial again and tell what came out.

    Raises:
        DataError: the trial was not recorded, on another click log, or of a model without consent.
        TrialFailed: a tensor differs.
    """
    digests = read_json(trial / "digests.json", hint=_NOT_RECORDED)
    recorded = consent.read(trial)
    path = trial / "order.parquet"
    with expecting("the order of a recorded trial", path, OSError):
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
    say(f"{len(digests)} tensors are equal to the bit after {steps} pulls and pushes")


if __name__ == "__main__":
    run(replay)
