"""Writes what a sweep would leave behind, with replicas that differ by a known amount of noise."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.results.reading import DONE, MANIFEST
from analysis.results.slices import GROUP, ITEM, SLICES
from analysis.results.study_design import StudyDesign, StudyPoint

USERS = 60
EXAMPLES = 900
POINTS = (500, 1000, 2000)


@dataclass(frozen=True, kw_only=True)
class SyntheticArm:
    """An arm whose replicas' logits are the truth, plus ``noise``, plus what it gets ``wrong``."""

    name: str
    noise: float
    wrong: float = 0.0
    kind: str = "single"
    activation: str = "relu"
    beta: float | None = None
    components: int = 1
    replicas: int = 4
    unfinished: tuple[int, ...] = ()
    workers: int = 1
    staleness: tuple[int, ...] = ()
    """How many pushes had 0, 1, … updates of others before them; none: not asynchronous"""
    engine: Mapping[str, object] = field(default_factory=dict)
    """What the trials' config.json says of it; none: there is no config.json"""


ARMS = (
    SyntheticArm(name="relu", noise=0.6, wrong=0.3),
    SyntheticArm(name="smelu_half", noise=0.4, wrong=0.2, activation="smelu", beta=0.5),
    SyntheticArm(name="smelu_1", noise=0.3, wrong=0.25, activation="smelu", beta=1.0),
    SyntheticArm(name="swish", noise=0.5, wrong=0.3, activation="swish", beta=1.0),
    SyntheticArm(name="relu_ensemble", noise=0.35, wrong=0.15, kind="ensemble", components=3),
)


_STUDY = StudyDesign(
    question="Does PD fall with β?",
    x="activation.beta",
    reference="relu",
    points=tuple(
        StudyPoint(
            arm=arm.name,
            series="arm",
            x=arm.beta,
            reference=None if arm.name == "relu" else "relu",
        )
        for arm in ARMS
    ),
)


def write_sweep(
    directory: Path,
    arms: tuple[SyntheticArm, ...] = ARMS,
    *,
    baseline: str = "relu",
    floor: SyntheticArm | None = None,
    study: StudyDesign | None = None,
    seed: int = 0,
) -> Path:
    """Write a sweep of synthetic arms below ``directory`` and return it."""
    directory.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    examples = _examples(rng)
    entries = [_arm_entry(arm, _write_arm(directory, arm, examples, rng)) for arm in arms]
    sources = []
    if floor is not None:
        places = _write_arm(directory, floor, examples, rng)
        sources.append({"source": "arithmetic", "arm": baseline, "trials": places})
    manifest = {
        "experiment": "synthetic",
        "baseline": baseline,
        "varied": ["shuffle"],
        "arms": entries,
        "sources": sources,
        "study": study and study.model_dump(mode="json"),
    }
    (directory / MANIFEST).write_text(json.dumps(manifest))
    return directory


def write_everything(directory: Path) -> Path:
    """Write a sweep that has all that a report can show."""
    stale = SyntheticArm(name="stale", noise=0.5, staleness=(60, 30, 10))
    floor = SyntheticArm(name="floor", noise=0.001)
    write_sweep(directory, (*ARMS, stale), floor=floor, study=_STUDY)
    write_counts(directory)
    return directory


def write_counts(directory: Path) -> Path:
    """Write the counts that slices are made of: the longer ago an example, the rarer its item."""
    example = np.arange(EXAMPLES) + 1000
    counts = pa.table(
        {
            "example": example,
            GROUP: np.repeat([0, 3], EXAMPLES // 2),
            ITEM: np.arange(EXAMPLES) // 100,
        }
    )
    path = directory / SLICES
    pq.write_table(counts.replace_schema_metadata({GROUP: "user", ITEM: "film"}), path)
    return path


def _examples(rng: np.random.Generator) -> pd.DataFrame:
    group = np.sort(rng.integers(0, USERS, EXAMPLES))
    truth = rng.normal(size=USERS)[group] + rng.normal(size=EXAMPLES)
    label = (rng.random(EXAMPLES) < 1 / (1 + np.exp(-truth))).astype(np.float32)
    return pd.DataFrame(
        {"example": np.arange(EXAMPLES) + 1000, "group": group, "label": label, "truth": truth}
    )


def _arm_entry(arm: SyntheticArm, places: list[str]) -> dict[str, object]:
    return {
        "name": arm.name,
        "kind": arm.kind,
        "model": "mlp",
        "activation": arm.activation,
        "beta": arm.beta,
        "components": arm.components,
        "conditions": {"engine": {"workers": arm.workers}},
        "trials": places,
    }


def _write_arm(
    directory: Path, arm: SyntheticArm, examples: pd.DataFrame, rng: np.random.Generator
) -> list[str]:
    wrong = arm.wrong * rng.normal(size=EXAMPLES)
    places = []
    for replica in range(arm.replicas):
        loudness = arm.noise * np.exp(0.1 * rng.normal())
        logit = examples["truth"] + wrong + loudness * rng.normal(size=EXAMPLES)
        places.append(f"trials/{arm.name}{replica}")
        predictions = examples[["example", "group", "label"]].assign(logit=logit.astype(np.float32))
        _write_trial(directory / places[-1], arm, replica, predictions, rng)
        if replica not in arm.unfinished:
            (directory / places[-1] / DONE).touch()
    return places


def _write_trial(
    place: Path,
    arm: SyntheticArm,
    replica: int,
    predictions: pd.DataFrame,
    rng: np.random.Generator,
) -> None:
    place.mkdir(parents=True)
    predictions.to_parquet(place / "predictions.parquet", index=False)
    watched = predictions.iloc[::9]
    pd.concat(
        pd.DataFrame(
            {
                "examples": examples_seen,
                "example": watched["example"],
                "logit": (watched["logit"] + 200 / examples_seen * rng.normal(size=len(watched))),
            }
        ).astype({"logit": np.float32})
        for examples_seen in POINTS
    ).to_parquet(place / "progress_predictions.parquet", index=False)
    pd.DataFrame(
        {
            "examples": POINTS,
            "progressive_log_loss": [0.69, 0.66, 0.64 + 0.01 * replica],
            "eval_log_loss": [0.68, 0.65, 0.63 + 0.01 * replica],
            "eval_auc": [0.55, 0.6, 0.65],
        }
    ).to_parquet(place / "progress.parquet", index=False)
    if arm.staleness:
        histogram = {str(updates): count for updates, count in enumerate(arm.staleness)}
        (place / "staleness.json").write_text(json.dumps({"updates": {"histogram": histogram}}))
    if arm.engine:
        recipe = {"arm": {"activation": arm.activation}, "engine": dict(arm.engine)}
        config = {"recipe": recipe, "seeds": {"shuffle": 1 + replica}, "data_fingerprint": "none"}
        (place / "config.json").write_text(json.dumps(config))
    cost = {
        "train_lookups": 7.0 * arm.components,
        "serve_lookups": 7.0 * arm.components,
        "serve_lookup_bytes": 7.0 * 64 * arm.components,
        "parameters": 1000 * arm.components,
        "train_examples_per_second": 50_000.0 + 100 * replica,
        "serve_us_per_example": 12.0 + replica,
    }
    (place / "cost.json").write_text(json.dumps(cost))
    provenance = {
        "soloist": "0.0.0",
        "code": "synthetic",
        "libraries": {"torch": "0.0.0"},
        "machine": {"device": "cpu", "processor": "synthetic"},
        "threads": 1,
        "seeds": {"init": 1, "shuffle": 1 + replica},
    }
    (place / "provenance.json").write_text(json.dumps(provenance))
