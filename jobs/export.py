"""``soloist export``: writes a trial's served model as a program that needs only PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow.parquet as pq
import typer
from typer import Option

from distrib.errors import TrialFailed
from distrib.training.evaluator import sigmoid
from distrib.training.step import set_threads
from distrib.trials.results import read_trial
from distrib.trials.trial import library_versions
from jobs.command import ArmName, Models, ReplicaNumber, Trust, check_new, echo, run
from jobs.trial_lookup import Consent, NamedTrial, trial_at
from recsys.data.click_log import ClickLog
from recsys.data.stream import Batches
from recsys.errors import DataError
from recsys.files import expecting
from recsys.serving.export import check_place
from recsys.serving.export import export as write_program
from recsys.serving.loader import Description, load
from recsys.serving.timing import request_of
from recsys.serving.weights import read_weights, rebuilt

_TOLERANCE = 1e-4
"""Of a probability. Kernels, batch sizes and devices round differently."""


def export(
    trial: Annotated[
        str,
        typer.Argument(
            metavar="TRIAL", help="Directory or URI of a trial with weights; of a sweep with --arm."
        ),
    ],
    output: Annotated[
        Path, Option("--output", "-o", metavar="DIR", help="Directory for the program.")
    ],
    data: Annotated[
        Path | None,
        Option(
            "--data",
            metavar="DIR",
            help="Click log of the trial: compare the program's predictions with the trial's.",
        ),
    ] = None,
    arm: ArmName = None,
    replica: ReplicaNumber = None,
    model: Models = None,
    trust: Trust = False,
) -> None:
    """Write a trial's served model as a torch.export program, with a JSON description.

    A distilled arm serves only the student, a codistilled arm a single model, an ensemble the mean
    logit of its components. `recsys.serving.loader.load(DIR)` loads the program with PyTorch
    alone. With --data, a prediction that differs from the trial's gives exit status 1.
    """
    log = None if data is None else ClickLog.open(data)
    check_place(output)
    check_new(output)
    consent = Consent(models=model or (), trust=trust)
    differences: list[float] = []
    with trial_at(trial, arm, replica) as named:
        compare = None if log is None else _comparison(named.directory, output, log)

        def check(program: Path) -> None:
            if compare is not None:
                differences.append(compare(program))

        exported = export_trial(named, output, consent, check=check)
    echo(f"{output}: {exported.title}, {len(exported.tables)} tables")
    for difference in differences:
        echo(f"largest difference of a prediction: {difference:.2g}")


def export_trial(
    named: NamedTrial,
    output: Path,
    consent: Consent,
    *,
    check: Callable[[Path], None] = lambda _: None,
) -> Description:
    """Write a trial's served model to ``output`` after ``check`` accepts the program.

    Raises:
        DataError: there is no finished trial with weights, it names a model without consent, or
            ``output`` has other content.
        ConfigError: the model cannot be built or exported.
    """
    check_place(output)
    trial = consent.read(named.directory)
    arm = rebuilt(read_weights(named.directory), trial.recipe.arm, trial.recipe.model, trial.seeds)
    description = {
        "name": named.name,
        "seeds": asdict(trial.seeds),
        "data_fingerprint": trial.data_fingerprint,
    }
    return write_program(arm, output, trial=description, libraries=library_versions(), check=check)


def _comparison(place: Path, output: Path, log: ClickLog) -> Callable[[Path], float]:
    """Return a function for the largest difference of a program's predictions from a trial's.

    It raises TrialFailed if they differ by more than rounding.

    Raises:
        DataError: the click log is not the trial's, or its predictions are damaged.
    """
    trial = read_trial(place)
    if log.fingerprint != trial.data_fingerprint:
        raise DataError(f"{log.directory}: not the click log that {place} was trained on")
    path, split = place / "predictions.parquet", trial.recipe.evaluation.split
    rows = np.asarray(log.splits[split], np.int64)
    with expecting("the predictions of this trial", path, OSError):
        predictions = pq.read_table(path.absolute(), columns=["example", "logit"])
        expected = sigmoid(predictions["logit"].to_numpy())
        if not np.array_equal(predictions["example"].to_numpy(), rows):
            raise DataError(f"its examples are not those of split {split}")
        if not np.isfinite(expected).all():
            raise DataError("found a logit that is not finite")

    def compare(program: Path) -> float:
        set_threads(trial.recipe)
        found = _predictions(program, log, rows, trial.recipe.evaluation.batch_size)
        difference = np.abs(found - expected)
        worst = int(difference.argmax())
        if not difference[worst] <= _TOLERANCE:
            raise TrialFailed(
                f"{output}: predicts {found[worst]:.6f} for example {rows[worst]}, "
                f"expected {expected[worst]:.6f}"
            )
        return float(difference[worst])

    return compare


def _predictions(program: Path, log: ClickLog, rows: np.ndarray, batch_size: int) -> np.ndarray:
    model = load(program)
    predictions = []
    for batch in Batches(log, 1).same_rows(rows, batch_size):
        request = request_of(batch, log.schema)
        predictions.append(model(request.dense, request.sparse).numpy())
    return np.concatenate(predictions)


if __name__ == "__main__":
    run(export)
