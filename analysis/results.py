"""Reads what a sweep left behind: its manifest and the directories of its finished trials."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from analysis.errors import ResultsError
from analysis.study_design import StudyDesign

Floats = NDArray[np.float64]

MANIFEST = "sweep.json"
DONE = "DONE"


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """A finished trial: where it lies, and which replica of its arm it is."""

    directory: Path
    replica: int

    def table(self, name: str, columns: tuple[str, ...]) -> pd.DataFrame:
        """Return a Parquet file of the trial, or say which column it lacks."""
        path = self.directory / name
        try:
            # To pyarrow, a relative path with a colon is a URI.
            return pq.read_table(path.absolute(), columns=list(columns)).to_pandas()
        except FileNotFoundError:
            raise ResultsError(f"{path}: not there, though the trial is marked {DONE}") from None
        except (pa.ArrowInvalid, pa.ArrowKeyError, OSError) as error:
            first_line = str(error).splitlines()[0]
            raise ResultsError(
                f"{path}: {first_line}; expected Parquet with columns {', '.join(columns)}"
            ) from None

    def document(self, name: str) -> dict[str, Any]:
        """Return a JSON file of the trial."""
        return _read_json(self.directory / name)

    def has(self, name: str) -> bool:
        """Tell whether the trial left a file of that name, which not every engine does."""
        return (self.directory / name).exists()

    def numbers(self, name: str) -> dict[str, float]:
        """Return a flat JSON file of numbers of the trial."""
        path = self.directory / name
        value = _read_json(path)
        wrong = next((key for key, each in value.items() if not _is_number(each)), None)
        if wrong is not None:
            raise ResultsError(f"{path}: {wrong} is {value[wrong]!r}, expected a number")
        return {key: float(each) for key, each in value.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Predictions:
    """What M replicas predict for the same N examples.

    ``example`` and ``group`` ``(N,)`` int64, ``labels`` ``(N,)`` float64, ``logits`` ``(M, N)``
    float64; ``replicas`` are the M models' numbers.
    """

    example: NDArray[np.int64]
    group: NDArray[np.int64]
    labels: Floats
    logits: Floats
    replicas: tuple[int, ...]

    @property
    def probabilities(self) -> Floats:
        """``(M, N)``; in float64 none rounds to 1 before logit 36."""
        return 1.0 / (1.0 + np.exp(-self.logits))


@dataclass(frozen=True, kw_only=True)
class Trials:
    """The replicas of one training, as planned in ``places`` and as finished."""

    name: str
    places: tuple[Path, ...]
    done: tuple[Trial, ...]

    @property
    def planned(self) -> int:
        """Trials that there are to be."""
        return len(self.places)

    @property
    def missing(self) -> int:
        """Trials that were planned and are not finished."""
        return self.planned - len(self.done)

    def read_predictions(self) -> Predictions:
        """Return the served predictions of all finished replicas; they are not kept.

        Raises:
            ResultsError: no trial is finished, or replicas saw different examples or labels.
        """
        if not self.done:
            raise ResultsError(f"{self.name}: none of its {self.planned} trials is finished")
        columns = ("example", "group", "label", "logit")
        tables = [trial.table("predictions.parquet", columns) for trial in self.done]
        first, shared = tables[0], ["example", "group", "label"]
        if not len(first) or not first["label"].isin([0, 1]).all():
            raise ResultsError(
                f"{self.done[0].directory}: expected predictions of examples labelled 0 or 1"
            )
        for trial, table in zip(self.done[1:], tables[1:], strict=True):
            if not np.array_equal(table[shared], first[shared]):
                raise ResultsError(
                    f"{trial.directory}: examples, groups or labels differ from those of"
                    f" {self.done[0].directory}, expected the same evaluation"
                )
        return Predictions(
            example=first["example"].to_numpy(np.int64),
            group=first["group"].to_numpy(np.int64),
            labels=first["label"].to_numpy(np.float64),
            logits=np.stack([table["logit"].to_numpy(np.float64) for table in tables]),
            replicas=tuple(trial.replica for trial in self.done),
        )

    @cached_property
    def devices(self) -> tuple[str, ...]:
        """The kinds of device that finished replicas were trained on, such as cpu and cuda."""
        return tuple(sorted({_device(trial.directory / "provenance.json") for trial in self.done}))

    @cached_property
    def cost(self) -> pd.DataFrame:
        """One row a finished replica: the numbers of ``cost.json``."""
        return pd.DataFrame([trial.numbers("cost.json") for trial in self.done])

    def read_progress(self) -> dict[int, Floats]:
        """Return logits ``(M, n)`` of the examples watched, by number of examples trained on.

        Holds the points that all finished replicas reached; empty where one kept none.
        """
        name = "progress_predictions.parquet"
        if not self.done or not all(trial.has(name) for trial in self.done):
            return {}
        columns = ("examples", "example", "logit")
        points = [
            {
                int(examples): rows.sort_values("example")
                for examples, rows in trial.table(name, columns).groupby("examples")
            }
            for trial in self.done
        ]
        common = sorted(set.intersection(*(set(each) for each in points)))
        return {
            examples: np.stack([each[examples]["logit"].to_numpy(np.float64) for each in points])
            for examples in common
        }

    def read_learning(self) -> pd.DataFrame:
        """Return the mean learning curves of the finished replicas that kept theirs.

        One row a point that all of these reached: ``examples, progressive_log_loss,
        eval_log_loss``; no rows where none kept them.
        """
        columns = ("examples", "progressive_log_loss", "eval_log_loss")
        name = "progress.parquet"
        kept = [trial.table(name, columns) for trial in self.done if trial.has(name)]
        if not kept:
            return pd.DataFrame(columns=list(columns))
        points = pd.concat(kept).groupby("examples", as_index=False)
        reached = points.size()["size"] == len(kept)
        return points.mean()[reached].reset_index(drop=True)

    def read_staleness(self) -> dict[int, int]:
        """Return how often a push of a finished replica had so many updates of others before it.

        Empty where no replica measured it: engines that are not asynchronous do not.

        Raises:
            ResultsError: a file is not what an engine writes.
        """
        total: Counter[int] = Counter()
        for trial in self.done:
            if trial.has("staleness.json"):
                total.update(_histogram(trial))
        return dict(sorted(total.items()))


@dataclass(frozen=True, kw_only=True)
class ArmResults(Trials):
    """An arm of the sweep; ``beta`` is NaN where its activation has none.

    ``conditions`` are those it was trained under, which are no part of the model: the stream, and
    how stale an engine's updates are. Empty where a manifest does not tell.
    """

    kind: str
    model: str
    activation: str
    beta: float
    components: int
    conditions: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepResults:
    """A sweep; ``sources`` are the baseline retrained with one source of irreproducibility each.

    ``study`` is what the experiment's arms are a study of, where it says so.
    """

    directory: Path
    experiment: str
    baseline: ArmResults
    varied: tuple[str, ...]
    arms: tuple[ArmResults, ...]
    sources: tuple[Trials, ...]
    study: StudyDesign | None = None


def read_sweep(directory: Path | str) -> SweepResults:
    """Read a sweep's manifest and find its finished trials; unfinished ones count as missing.

    Raises:
        ResultsError: there is no manifest, or it is not what a sweep writes.
    """
    directory = Path(directory)
    path = directory / MANIFEST
    if not path.exists():
        raise ResultsError(f"{directory}: has no {MANIFEST}, expected the output of a sweep")
    manifest = _read_json(path)
    try:
        arms = tuple(_arm(directory, entry) for entry in manifest["arms"])
        sources = tuple(
            _trials(directory, entry["source"], entry["trials"]) for entry in manifest["sources"]
        )
        experiment, varied = manifest["experiment"], tuple(manifest["varied"])
        named = manifest["baseline"]
        study = manifest.get("study")
        study = study and StudyDesign.model_validate_json(json.dumps(study))
    except (KeyError, TypeError, ValueError) as error:
        raise ResultsError(
            f"{path}: {type(error).__name__} {error}, expected what a sweep writes"
        ) from None
    baseline = next((arm for arm in arms if arm.name == named), None)
    if baseline is None:
        names = ", ".join(arm.name for arm in arms)
        raise ResultsError(f"{path}: baseline {named!r} is no arm, expected one of {names}")
    return SweepResults(
        directory=directory,
        experiment=experiment,
        baseline=baseline,
        varied=varied,
        arms=arms,
        sources=sources,
        study=study,
    )


def _arm(directory: Path, entry: dict[str, Any]) -> ArmResults:
    trials = _trials(directory, entry["name"], entry["trials"])
    return ArmResults(
        name=trials.name,
        places=trials.places,
        done=trials.done,
        kind=str(entry["kind"]),
        model=str(entry["model"]),
        activation=str(entry["activation"]),
        beta=float("nan") if entry["beta"] is None else float(entry["beta"]),
        components=int(entry["components"]),
        conditions=entry.get("conditions", {}),
    )


def _trials(directory: Path, name: str, places: list[str]) -> Trials:
    return Trials(
        name=str(name),
        places=tuple(directory / place for place in places),
        done=tuple(
            Trial(directory=directory / place, replica=number)
            for number, place in enumerate(places)
            if (directory / place / DONE).exists()
        ),
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ResultsError(f"{path}: not there, expected a JSON object") from None
    except (OSError, ValueError) as error:
        raise ResultsError(f"{path}: {error}, expected a JSON object") from None
    if not isinstance(value, dict):
        raise ResultsError(f"{path}: holds {type(value).__name__}, expected a JSON object")
    return value


def _histogram(trial: Trial) -> dict[int, int]:
    name = "staleness.json"
    try:
        found = trial.document(name)["updates"]["histogram"]
        return {int(updates): int(count) for updates, count in found.items()}
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ResultsError(
            f"{trial.directory / name}: expected updates.histogram, a count for each staleness"
        ) from None


def _device(path: Path) -> str:
    machine = _read_json(path).get("machine")
    if not isinstance(machine, dict) or "device" not in machine:
        raise ResultsError(f"{path}: has no machine.device, expected the device trained on")
    return str(machine["device"]).split(":")[0]


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
