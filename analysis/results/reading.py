"""Reads the results of a sweep: its manifest and the directories of finished trials."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.errors import ResultsError
from analysis.results.files import (
    Config,
    CostFile,
    Manifest,
    ManifestArm,
    Provenance,
    Staleness,
    Strict,
    read_json,
    read_table,
)
from analysis.results.study_design import StudyDesign
from analysis.text import listed, shortened

Floats = NDArray[np.float64]
Value = TypeVar("Value")

MANIFEST = "sweep.json"
DONE = "DONE"
_DOCUMENTS: dict[str, type[Strict]] = {
    "config.json": Config,
    "cost.json": CostFile,
    "provenance.json": Provenance,
    "staleness.json": Staleness,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """A finished trial: its directory and replica number."""

    directory: Path
    replica: int

    def table(self, name: str, columns: tuple[str, ...]) -> pd.DataFrame:
        """Return columns of a Parquet file of the trial, validated."""
        return self._there(name, lambda path: read_table(path, columns))

    def document(self, name: str) -> dict[str, Any]:
        """Return a JSON file of the trial, validated."""
        found = self._there(name, lambda path: read_json(path, _DOCUMENTS[name]))
        return found.model_dump(exclude_unset=True)

    def has(self, name: str) -> bool:
        """Return whether the trial has a file of that name; engines differ."""
        return (self.directory / name).exists()

    def _there(self, name: str, read: Callable[[Path], Value]) -> Value:
        try:
            return read(self.directory / name)
        except FileNotFoundError:
            path = self.directory / name
            raise ResultsError(f"{path}: missing, although the trial is marked {DONE}") from None


@dataclass(frozen=True, kw_only=True, slots=True)
class Predictions:
    """Predictions of M replicas for the same N examples.

    ``example`` and ``group`` are int64 ``(N,)``, ``labels`` float64 ``(N,)``, ``logits`` float64
    ``(M, N)``; ``replicas`` are the replica numbers.
    """

    example: NDArray[np.int64]
    group: NDArray[np.int64]
    labels: Floats
    logits: Floats
    replicas: tuple[int, ...]

    @property
    def probabilities(self) -> Floats:
        """``(M, N)`` float64; rounded to 1 only above logit 36."""
        return 1.0 / (1.0 + np.exp(-self.logits))

    @property
    def diverged(self) -> tuple[int, ...]:
        """The replicas with NaN or infinite predictions."""
        pairs = zip(self.replicas, self.logits, strict=True)
        return tuple(replica for replica, logits in pairs if not np.isfinite(logits).all())


@dataclass(frozen=True, kw_only=True)
class Trials:
    """The replicas of one arm or source, as planned in ``places`` and as finished."""

    name: str
    places: tuple[Path, ...]
    done: tuple[Trial, ...]

    @property
    def planned(self) -> int:
        """Number of planned trials."""
        return len(self.places)

    @property
    def missing(self) -> int:
        """Number of planned trials that are not finished."""
        return self.planned - len(self.done)

    def read_predictions(self) -> Predictions:
        """Return the served predictions of all finished replicas (not cached).

        Raises:
            ResultsError: no trial is finished, two replicas are the same trial, or examples or
                labels differ.
        """
        if not self.done:
            raise ResultsError(f"{self.name}: none of its {self.planned} trials is finished")
        _refuse_the_same(self.done)
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
        """The device types of finished replicas, such as cpu and cuda."""
        told = (trial.document("provenance.json")["machine"]["device"] for trial in self.done)
        return tuple(sorted({device.split(":")[0] for device in told}))

    @cached_property
    def cost(self) -> pd.DataFrame:
        """One row for each finished replica: the numbers of ``cost.json``."""
        return pd.DataFrame([trial.document("cost.json") for trial in self.done])

    def read_progress(self) -> dict[int, Floats]:
        """Return logits ``(M, n)`` of the progress examples by number of examples trained.

        Only points that all finished replicas have; empty if one has none.

        Raises:
            ResultsError: a file is invalid, or replicas have different examples.
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
        for examples, (trial, each) in product(common, zip(self.done, points, strict=True)):
            if not np.array_equal(each[examples]["example"], points[0][examples]["example"]):
                raise ResultsError(
                    f"{trial.directory / name}: example: found other examples after {examples}"
                    f" than in {self.done[0].directory / name}, expected the same"
                )
        return {
            examples: np.stack([each[examples]["logit"].to_numpy(np.float64) for each in points])
            for examples in common
        }

    def read_learning(self) -> pd.DataFrame:
        """Return the mean learning curves of the finished replicas that have them.

        One row for each common point: ``examples, progressive_log_loss, eval_log_loss``.
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
        """Return counts by staleness: updates of others between pull and push.

        Empty if no replica measured it (engines that are not asynchronous).

        Raises:
            ResultsError: a file is invalid.
        """
        total: Counter[int] = Counter()
        for trial in self.done:
            if trial.has("staleness.json"):
                total.update(trial.document("staleness.json")["updates"]["histogram"])
        return dict(sorted(total.items()))


@dataclass(frozen=True, kw_only=True)
class ArmResults(Trials):
    """An arm of the sweep; ``beta`` is NaN if its activation has none.

    ``conditions`` are the training conditions that are not part of the model: the stream, and the
    engine's staleness. Empty if the manifest does not have them.
    """

    kind: str
    model: str
    activation: str
    beta: float
    components: int
    conditions: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepResults:
    """A sweep; ``sources`` are retrainings of the baseline that vary one source each."""

    directory: Path
    experiment: str
    baseline: ArmResults
    varied: tuple[str, ...]
    arms: tuple[ArmResults, ...]
    sources: tuple[Trials, ...]
    study: StudyDesign | None = None


def read_sweep(directory: Path | str) -> SweepResults:
    """Read a sweep's manifest and find its finished trials; unfinished ones are missing.

    Raises:
        ResultsError: the manifest is missing or invalid.
    """
    directory = Path(directory)
    path = directory / MANIFEST
    if not path.exists():
        raise ResultsError(f"{directory}: has no {MANIFEST}, expected the output of a sweep")
    manifest = read_json(path, Manifest)
    arms = tuple(_arm(directory, arm) for arm in manifest.arms)
    baseline = next((arm for arm in arms if arm.name == manifest.baseline), None)
    if baseline is None:
        found = shortened(repr(manifest.baseline), 60)
        names = listed(arm.name for arm in arms)
        raise ResultsError(f"{path}: baseline {found} is not an arm, expected one of {names}")
    return SweepResults(
        directory=directory,
        experiment=manifest.experiment,
        baseline=baseline,
        varied=manifest.varied,
        arms=arms,
        sources=tuple(_trials(directory, each.source, each.trials) for each in manifest.sources),
        study=manifest.study,
    )


def _arm(directory: Path, arm: ManifestArm) -> ArmResults:
    trials = _trials(directory, arm.name, arm.trials)
    return ArmResults(
        name=trials.name,
        places=trials.places,
        done=trials.done,
        kind=arm.kind,
        model=arm.model,
        activation=arm.activation,
        beta=math.nan if arm.beta is None else arm.beta,
        components=arm.components,
        conditions=arm.conditions,
    )


def _trials(directory: Path, name: str, places: tuple[str, ...]) -> Trials:
    return Trials(
        name=name,
        places=tuple(directory / place for place in places),
        done=tuple(
            Trial(directory=directory / place, replica=number)
            for number, place in enumerate(places)
            if (directory / place / DONE).exists()
        ),
    )


def _refuse_the_same(trials: tuple[Trial, ...]) -> None:
    """Reject replicas that are the same trial, linked or copied: their PD is meaningless."""
    first: dict[str, Trial] = {}
    for trial in trials:
        name = "config.json"
        told = trial.document(name) if trial.has(name) else str(trial.directory.resolve())
        other = first.setdefault(json.dumps(told, sort_keys=True), trial)
        if other is not trial:
            raise ResultsError(
                f"{trial.directory}: found the same trial as {other.directory}, expected "
                "replicas with different seeds"
            )
