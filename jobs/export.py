"""``soloist export``: what a trial serves, as a program that needs PyTorch alone."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from typer import Option

from distrib.errors import TrialFailed
from distrib.evaluation import sigmoid
from distrib.results import read_trial
from distrib.training import set_threads
from distrib.trial import Trial, library_versions
from jobs.arguments import OfArm, OfReplica
from jobs.command import check_new, run, say
from jobs.trials import NamedTrial, trial_at
from recsys.data.click_log import ClickLog
from recsys.data.stream import Batches
from recsys.errors import DataError
from recsys.serving.description import Description
from recsys.serving.export import check_place
from recsys.serving.export import export as write_program
from recsys.serving.loader import load
from recsys.serving.requests import request_of
from recsys.serving.weight_files import read_weights
from recsys.serving.weights import rebuilt

_TOLERANCE = 1e-4
"""Of a probability: kernels, batch sizes and devices round differently"""


def export(
    trial: Annotated[
        str,
        typer.Argument(
            metavar="TRIAL",
            help="A trial's directory or URI, with weights (--keep-weights); or a sweep's, with "
            "--arm.",
        ),
    ],
    output: Annotated[
        Path, Option("--output", "-o", metavar="DIR", help="Where program and description go.")
    ],
    data: Annotated[
        Path | None,
        Option(
            "--data",
            metavar="DIR",
            help="Its click log: compare the program's predictions with the trial's.",
            show_default=False,
        ),
    ] = None,
    arm: OfArm = None,
    replica: OfReplica = None,
) -> None:
    """Write what a trial serves as a torch.export program, and what it takes as JSON beside it.

    Of a distilled arm that is the student alone, of a codistilled one a single model, of an
    ensemble all components with their mean logit. `recsys.serving.loader.load(DIR)` loads it, with
    PyTorch alone. With --data, a prediction that is not the trial's ends it with status 1.
    """
    log = None if data is None else ClickLog.open(data)
    check_place(output)
    check_new(output)
    with trial_at(trial, arm, replica) as named:
        exported = export_trial(named, output)
        say(f"{output}: {exported.title}, {len(exported.tables)} tables")
        if log is not None:
            difference = _compare(named.directory, output, log)
            say(f"largest difference of a prediction: {difference:.2g}")


def export_trial(named: NamedTrial, output: Path) -> Description:
    """Write what a trial serves to ``output``.

    Raises:
        DataError: there is no finished trial with weights, or ``output`` holds something else.
        ConfigError: the model cannot be made or exported.
    """
    check_place(output)
    trial = read_trial(named.directory)
    arm = rebuilt(read_weights(named.directory), trial.recipe.arm, trial.recipe.model, trial.seeds)
    return write_program(
        arm,
        output,
        trial={
            "name": named.name,
            "seeds": asdict(trial.seeds),
            "data_fingerprint": trial.data_fingerprint,
        },
        libraries=library_versions(),
    )


def _compare(place: Path, output: Path, log: ClickLog) -> float:
    """Return the largest difference between the program's and the trial's predictions.

    Raises:
        DataError: the click log is not the trial's.
        TrialFailed: they differ by more than rounding.
    """
    trial = read_trial(place)
    if log.fingerprint != trial.data_fingerprint:
        raise DataError(f"{log.directory}: not the click log that {place} was trained on")
    set_threads(trial.recipe)
    predictions = pd.read_parquet((place / "predictions.parquet").absolute())
    found, expected = _answers(output, trial, log, predictions), predictions["logit"].to_numpy()
    difference = np.abs(found - sigmoid(expected))
    worst = int(difference.argmax())
    if not difference[worst] <= _TOLERANCE:
        raise TrialFailed(
            f"{output}: predicts {found[worst]:.6f} for example "
            f"{predictions['example'].iloc[worst]}, expected {sigmoid(expected)[worst]:.6f}"
        )
    return float(difference[worst])


def _answers(output: Path, trial: Trial, log: ClickLog, predictions: pd.DataFrame) -> np.ndarray:
    model = load(output)
    rows = predictions["example"].to_numpy()
    answers = []
    for batch in Batches(log, 1).same_rows(rows, trial.recipe.evaluation.batch_size):
        request = request_of(batch, log.schema)
        answers.append(model(request.dense, request.sparse).numpy())
    return np.concatenate(answers)


if __name__ == "__main__":
    run(export)
