"""Plan the trials of an experiment, and write their manifest and the slices of their examples."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.atomic_files import write_whole
from analysis.results.reading import MANIFEST
from analysis.results.slices import GROUP, ITEM, SLICES
from distrib.trials.results import trial_directory
from distrib.trials.trial import Trial
from jobs.command import write_text
from jobs.experiment.documents import validated
from jobs.experiment.schema import DataConfig, Experiment, study_design
from recsys.activations import activation_beta
from recsys.calls import listed, parse_call
from recsys.config import Recipe
from recsys.data.click_log import ClickLog, is_click_log
from recsys.engines import AsyncEngine
from recsys.errors import ConfigError
from recsys.models.registry import blueprints
from recsys.seeds import Source, replica_seeds

_ENGINE_CONDITIONS = "name store workers window delta_scale max_staleness warm_up delays"
"""Fields of an engine that decide the staleness of its updates"""
_MAX_TRIALS = 100_000


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedArm:
    """An arm and its trials, one for each replica.

    ``source`` is None for a row of the table, else the only source of irreproducibility that
    varies between these trainings of the baseline.
    """

    name: str
    recipe: Recipe
    source: Source | None
    trials: tuple[Trial, ...]

    @property
    def title(self) -> str:
        """The name for output."""
        return self.name if self.source is None else f"{self.name} ({self.source} alone)"


def open_click_log(data: DataConfig) -> ClickLog:
    """Return the click log of an experiment.

    Raises ConfigError if it does not exist (the message has the command that makes it), has no
    feature to embed, or lacks the item; DataError if it is damaged.
    """
    if not is_click_log(data.directory):
        raise ConfigError(
            f"{data.directory}: found no click log; make it with: {data.prepare_command()}"
        )
    log = ClickLog.open(data.directory)
    if not log.schema.sparse:
        raise ConfigError(
            f"data.directory: {data.directory} has only dense features, expected at least one "
            "categorical or multi-valued feature to embed"
        )
    item_column(log, data.item)
    return log


def plan(experiment: Experiment, log: ClickLog) -> list[PlannedArm]:
    """Return the arms to train, then the baseline again for each source alone.

    Raises ConfigError if an arm's model cannot be built for this data, its replicas are identical,
    or there are too many trials.
    """
    repeated = [experiment.arms[experiment.baseline]] * len(experiment.sources)
    total = sum(arm.replication.replicas for arm in (*experiment.arms.values(), *repeated))
    if total > _MAX_TRIALS:
        raise ConfigError(
            f"replicas: found {total:,} trials in all, expected at most {_MAX_TRIALS:,}"
        )
    for arm in experiment.arms.values():
        recipe = arm.recipe
        blueprints(recipe.arm.layout(recipe.model.embedding_dim), recipe.model, log.schema)

    def planned(name: str, vary: tuple[Source, ...], source: Source | None) -> PlannedArm:
        arm = experiment.arms[name]
        if not vary and arm.replication.replicas > 1:
            raise ConfigError(
                f"arms.{name}: found {arm.replication.replicas} replicas with nothing in vary,"
                " which are identical; expected a source in vary, or replicas=1"
            )
        trials = tuple(
            Trial(
                recipe=arm.recipe,
                seeds=replica_seeds(experiment.seed, vary, replica),
                data_fingerprint=log.fingerprint,
            )
            for replica in range(arm.replication.replicas)
        )
        return PlannedArm(name=name, recipe=arm.recipe, source=source, trials=trials)

    arms = [planned(name, arm.replication.vary, None) for name, arm in experiment.arms.items()]
    alone = [planned(experiment.baseline, (source,), source) for source in experiment.sources]
    return arms + alone


def manifest(
    experiment: Experiment, planned: Sequence[PlannedArm], *, root: Path = Path()
) -> dict[str, Any]:
    """Return the content of ``sweep.json``: the trials of each row of the table.

    ``root`` is the directory of the trials relative to the manifest. Experiments that share it
    share the trials that they have in common.
    """

    def places(arm: PlannedArm) -> list[str]:
        return [trial_directory(root, trial).as_posix() for trial in arm.trials]

    study = None
    # A search plans other arms.
    if experiment.study is not None and experiment.arms.keys() <= {arm.name for arm in planned}:
        study = study_design(experiment, experiment.study)
    return {
        "experiment": experiment.name,
        "baseline": experiment.baseline,
        "varied": [str(source) for source in experiment.vary],
        "arms": [_row(arm) | {"trials": places(arm)} for arm in planned if arm.source is None],
        "sources": [
            {"source": str(arm.source), "arm": arm.name, "trials": places(arm)}
            for arm in planned
            if arm.source is not None
        ],
        "study": study and study.model_dump(mode="json"),
    }


def write_manifest(directory: Path, contents: dict[str, Any]) -> None:
    """Write ``sweep.json`` atomically."""
    write_text(directory / MANIFEST, json.dumps(contents, indent=2) + "\n")


def _row(arm: PlannedArm) -> dict[str, Any]:
    recipe = arm.recipe
    activation, beta = activation_columns(recipe.arm.activation)
    engine = recipe.engine.model_dump(mode="json", include=set(_ENGINE_CONDITIONS.split()))
    return {
        "name": arm.name,
        "kind": recipe.arm.kind,
        "model": recipe.model.name,
        "activation": activation,
        "beta": beta,
        "components": recipe.arm.components,
        "conditions": {"stream": recipe.stream.model_dump(mode="json"), "engine": engine},
    }


def activation_columns(text: str) -> tuple[str, float | None]:
    """Return the table's ``activation`` and ``beta`` of an activation.

    An activation with no parameter but beta is shown by its name, so that its family shares a
    curve; any other by its whole text.
    """
    name, parameters = parse_call(text)
    return (name.lower() if set(parameters) <= {"beta"} else text), activation_beta(text)


def item_column(log: ClickLog, item: str | None) -> int | None:
    """Return the column of ``ids`` that holds the item; ConfigError if there is none."""
    if item is None:
        return None
    names = [feature.name for feature in log.schema.single_valued]
    if item not in names:
        raise ConfigError(
            f"data.item: {log.directory} has no single-valued feature {item!r},"
            f" expected one of {listed(names)}"
        )
    return names.index(item)


def write_slices(directory: Path, log: ClickLog, split: str, item: str | None) -> Path | None:
    """Write how often each evaluation example's group and item occur in the training examples.

    Columns ``example`` int64 (row of the click log) and, if the log has them, ``group_examples``
    and ``item_examples`` int64; the metadata names the two features. None if there is neither.
    Raises ConfigError as ``item_column``.
    """
    column = item_column(log, item)
    rows = log.splits[split]
    columns: dict[str, npt.NDArray[np.int64]] = {"example": np.asarray(rows, np.int64)}
    names: dict[str, str] = {}
    if log.schema.group is not None:
        columns[GROUP] = _occurrences(log.group, log.splits["train"], rows)
        names[GROUP] = log.schema.group
    if column is not None and item is not None:
        columns[ITEM] = _occurrences(log.ids[:, column], log.splits["train"], rows)
        names[ITEM] = item
    if not names:
        return None
    table = pa.table(columns).replace_schema_metadata(names)
    # To pyarrow, a relative path with a colon is a URI.
    path = (directory / SLICES).absolute()
    return write_whole(path, lambda unfinished: pq.write_table(table, unfinished))


def _occurrences(
    values: npt.NDArray[np.integer], train: range, rows: range
) -> npt.NDArray[np.int64]:
    """Return how often the value of each of ``rows`` occurs among the rows of ``train``."""
    known, counts = np.unique(values[train.start : train.stop], return_counts=True)
    wanted = values[rows.start : rows.stop]
    if not len(known):
        return np.zeros(len(wanted), np.int64)
    place = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return np.where(known[place] == wanted, counts[place], 0).astype(np.int64)


def recorded(experiment: Experiment, names: Iterable[str]) -> Experiment:
    """Return an experiment in which these arms record their order of requests, for a replay.

    Raises ConfigError if an arm's engine is not async.
    """
    arms = dict(experiment.arms)
    for name in names:
        engine = arms[name].recipe.engine
        if not isinstance(engine, AsyncEngine):
            raise ConfigError(
                f"--record: found engine {engine.name} for arms.{name}, expected async: no other "
                "engine has an order of pulls and pushes to record"
            )
        recording = validated(AsyncEngine, dict(engine) | {"record": True}, f"arms.{name}.engine")
        recipe = arms[name].recipe.model_copy(update={"engine": recording})
        arms[name] = arms[name].model_copy(update={"recipe": recipe})
    return experiment.model_copy(update={"arms": arms})
