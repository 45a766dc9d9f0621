"""Estimates before training: lookups from sample batches, hours from measured rates, prices."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from analysis.errors import ResultsError
from analysis.results.reading import DONE
from analysis.results.reading import Trial as FinishedTrial
from analysis.results.spending import Prices, Spent, Usage, spent, usage
from distrib.scheduling.resources import Probe, trains_alone
from distrib.trials.grouping import Group
from distrib.trials.results import read_trial
from distrib.trials.trial import Trial
from jobs.experiment.schema import read_validated
from recsys.cost import LookupCounter
from recsys.data.click_log import ClickLog
from recsys.data.stream import Stream
from recsys.embeddings import table_configs
from recsys.errors import DataError
from recsys.frozen import Frozen
from recsys.models.registry import blueprints

PRICES = Path("cluster", "prices.yaml")


class _PriceConfig(Frozen):
    per_core_hour: float | None = Field(None, ge=0)
    per_gpu_hour: float | None = Field(None, ge=0)
    currency: str = ""


def read_prices(
    path: Path | None, *, per_core_hour: float | None = None, per_gpu_hour: float | None = None
) -> Prices:
    """Return the prices of a file, by default ``cluster/prices.yaml``; those given come first.

    Raises:
        ConfigError: the file cannot be read, or holds something else.
    """
    found = _PriceConfig()
    if path is not None or PRICES.exists():
        found = read_validated(path or PRICES, _PriceConfig)
    return Prices(
        per_core_hour=found.per_core_hour if per_core_hour is None else per_core_hour,
        per_gpu_hour=found.per_gpu_hour if per_gpu_hour is None else per_gpu_hour,
        currency=found.currency,
    )


_SAMPLES = 16
#: What says how a model learns, not how long a batch takes.
_WITHOUT_PACE = ("sparse_learning_rate", "dense_learning_rate", "eps")
UNKNOWN = "unknown until a trial is done"
#: What an engine adds to the pace of one process that trains alone.
_IF = {
    "async": ", if workers scale",
    "sync": ", if workers scale",
    "virtual_async": ", without its store",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """What one example of one replica was measured to take, and how that is known."""

    core_seconds: float
    gpu_seconds: float
    basis: str


def shape_of(recipe: Mapping[str, Any], fused: int) -> str:
    """Return what decides how long an example takes, as a key.

    That is a recipe (as ``config.json`` holds it) without learning rates, number of epochs,
    evaluation and the parameters of activations, and how many replicas share a process.
    """
    optimizer = {k: v for k, v in recipe["optimizer"].items() if k not in _WITHOUT_PACE}
    activation = recipe["arm"]["activation"].split("(")[0].strip().lower()
    deciding = {
        "arm": recipe["arm"] | {"activation": activation},
        "model": recipe["model"],
        "optimizer": optimizer,
        "stream": recipe["stream"] | {"epochs": None},
        "engine": recipe["engine"],
        "fused": fused,
    }
    return json.dumps(deciding, sort_keys=True)


def shape_of_group(group: Group) -> str:
    """Return the shape of a group that is yet to be trained."""
    return shape_of(group.recipe.model_dump(mode="json"), len(group.trials))


def shape_alone(group: Group) -> str:
    """Return the shape of what one process of a group does: of the local engine its own."""
    alone = trains_alone(group.recipe)
    return shape_of(alone.model_dump(mode="json"), len(group.trials))


def measured_paces(directory: Path, log: ClickLog) -> dict[str, Pace]:
    """Return the pace of every shape that a finished trial in a sweep's directory has.

    Trials on other data do not count, nor damaged ones, which the report refuses.
    """
    found: dict[str, list[Usage]] = {}
    for done in sorted(directory.glob(f"trials/[!.]*/{DONE}")):
        trial = FinishedTrial(directory=done.parent, replica=0)
        try:
            used, trained = usage(trial), read_trial(trial.directory)
        except (ResultsError, DataError):
            continue
        if used is None or math.isnan(used.core_seconds):
            continue
        if trained.data_fingerprint == log.fingerprint:
            fused = trial.document("provenance.json").get("fused_replicas", 1)
            recipe = trained.recipe.model_dump(mode="json")
            found.setdefault(shape_of(recipe, fused), []).append(used)
    return {shape: _pace(used) for shape, used in found.items()}


def to_probe(
    groups: Iterable[Group], paces: Mapping[str, Pace], prices: Prices, *, asked: bool
) -> dict[str, Group]:
    """Return one group of each shape of a process that is to be probed, by that shape.

    Where it is asked for, and where a price is known, so that the money is told before it is spent:
    those whose pace no finished trial shows.
    """
    if not (asked or prices.known):
        return {}
    return {shape_alone(group): group for group in groups if _pace_of(group, paces) is None}


def probed_paces(shapes: Iterable[str], probes: Iterable[Probe | str]) -> dict[str, Pace]:
    """Return the paces that probes showed; one that failed shows none, and why."""
    return {shape: _of_probe(probe) for shape, probe in zip(shapes, probes, strict=True)}


def estimate(
    log: ClickLog, groups: Sequence[Group], paces: Mapping[str, Pace], prices: Prices
) -> tuple[Spent, ...]:
    """Return what training of groups will take, a row for each title; NaN where unknown."""
    lookups: dict[str, float] = {}
    rows: dict[str, list[tuple[Group, Usage, str]]] = {}
    for group in groups:
        shape = shape_of_group(group)
        if shape not in lookups:
            lookups[shape] = lookups_per_example(log, group.trials[0])
        examples = len(log.splits["train"]) * group.recipe.stream.epochs * len(group.trials)
        pace = _pace_of(group, paces)
        used = Usage(
            examples=examples,
            lookups=examples * lookups[shape],
            core_seconds=math.nan if pace is None else examples * pace.core_seconds,
            gpu_seconds=math.nan if pace is None else examples * pace.gpu_seconds,
        )
        basis = UNKNOWN if pace is None else pace.basis
        rows.setdefault(group.title, []).append((group, used, basis))
    return tuple(_row(title, parts, prices) for title, parts in rows.items())


def lookups_per_example(log: ClickLog, trial: Trial) -> float:
    """Return the embedding rows that training reads for an example, all phases together.

    Counted on batches spread over the training stream: with multi-valued features they differ.
    """
    recipe = trial.recipe
    stream = Stream(log, "train", recipe.stream, [trial.seeds])
    groups = recipe.arm.layout(recipe.model.embedding_dim)
    models = blueprints(groups, recipe.model, log.schema)
    counter = LookupCounter(unique_every=_SAMPLES)
    for number in np.unique(np.linspace(0, stream.batch_count - 1, _SAMPLES).astype(int)):
        (batch,) = stream.batches(int(number), int(number) + 1)
        for phase in recipe.arm.phases:
            taking_part = [group for group in groups if group.name in phase.groups]
            tables = table_configs(taking_part, models, 1)
            counter.count(tables, batch, again=phase != recipe.arm.phases[-1])
    return counter.lookups().per_example


def _pace_of(group: Group, paces: Mapping[str, Pace]) -> Pace | None:
    """Return a group's own pace, or else one of its processes', with what that leaves out."""
    own, alone = paces.get(shape_of_group(group)), paces.get(shape_alone(group))
    if own is not None or alone is None:
        return own
    if math.isnan(alone.core_seconds):
        return alone
    return replace(alone, basis=alone.basis + _IF[group.recipe.engine.name])


def _row(title: str, parts: Sequence[tuple[Group, Usage, str]], prices: Prices) -> Spent:
    used = Usage(
        examples=sum(part.examples for _, part, _ in parts),
        lookups=math.fsum(part.lookups for _, part, _ in parts),
        core_seconds=math.fsum(part.core_seconds for _, part, _ in parts),
        gpu_seconds=math.fsum(part.gpu_seconds for _, part, _ in parts),
    )
    trials = sum(len(group.trials) for group, _, _ in parts)
    basis = "; ".join(dict.fromkeys(basis for _, _, basis in parts))
    return spent(title, trials, used, prices, basis)


def _pace(used: Sequence[Usage]) -> Pace:
    examples = math.fsum(each.examples for each in used)
    count = len(used)
    return Pace(
        core_seconds=math.fsum(each.core_seconds for each in used) / examples,
        gpu_seconds=math.fsum(each.gpu_seconds for each in used) / examples,
        basis=f"{count} finished trial{'s' if count > 1 else ''}",
    )


def _of_probe(probe: Probe | str) -> Pace:
    if isinstance(probe, str):
        return Pace(core_seconds=math.nan, gpu_seconds=math.nan, basis=f"the probe failed: {probe}")
    return Pace(
        core_seconds=probe.core_seconds,
        gpu_seconds=probe.gpu_seconds,
        basis=f"a probe of {probe.batches} batches",
    )
