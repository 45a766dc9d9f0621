"""``soloist export``: what a trial serves, as a program that needs PyTorch alone."""

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
from jobs.command import Models, OfArm, OfReplica, Trust, check_new, run, say
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
    model: Models = None,
    trust: Trust = False,
) -> None:
    """Write what a trial serves as a torch.export program, and what it takes as JSON beside it.

    Of a distilled arm that is the student alone, of a codistilled one a single model, of an
    ensemble all components with their mean logit. `recsys.serving.loader.load(DIR)` loads it, with
    PyTorch alone. With --data, a prediction that is not the trial's ends it with status 1.
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
    say(f"{output}: {exported.title}, {len(exported.tables)} tables")
    for difference in differences:
        say(f"largest difference of a prediction: {difference:.2g}")


def export_trial(
    named: NamedTrial,
    output: Path,
    consent: Consent,
    *,
    check: Callable[[Path], None] = lambda _: None,
) -> Description:
    """Write what a trial serves to ``output``, once ``check`` has passed it.

    Raises:
        DataError: there is no finished trial with weights, it names a model without consent, or
            ``output`` holds something else.
        ConfigError: the model cannot be made or exported.
    """
    check_place(output)
    trial = consent.read(named.directory)
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
        check=check,
    )


def _comparison(place: Path, output: Path, log: ClickLog) -> Callable[[Path], float]:
    """Return what compares a program's predictions with a trial's: the largest difference.

    That raises TrialFailed if they differ by more than rounding.

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
            raise DataError("found a logit that is no number")

    def compare(program: Path) -> float:
        set_threads(trial.recipe)
        found = _answers(program, log, rows, trial.recipe.evaluation.batch_size)
        difference = np.abs(found - expected)
        worst = int(difference.argmax())
        if not difference[worst] <= _TOLERANCE:
            raise TrialFailed(
                f"{output}: predicts {found[worst]:.6f} for example {rows[worst]}, "
                f"expected {expected[worst]:.6f}"
            )
        return float(difference[worst])

    return compare


def _answers(program: Path, log: ClickLog, rows: np.ndarray, batch_size: int) -> np.ndarray:
    model = load(program)
    answers = []
    for batch in Batches(log, 1).same_rows(rows, batch_size):
        request = request_of(batch, log.schema)
        answers.append(model(request.dense, request.sparse).numpy())
    return np.concatenate(answers)


if __name__ == "__main__":
    run(export)
