"""The findings as one document, and its figures beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from analysis.errors import ResultsError
from analysis.figures.style import save_png, styled
from analysis.findings import (
    asynchrony,
    beta,
    distillation,
    ensemble_size,
    epochs,
    how_many_models,
    initialization,
    normalization,
    shuffle_width,
)
from analysis.findings.finding import Finding, Measured, measured
from analysis.results import ArmResults, SweepResults
from analysis.writing import write_whole

FINDERS: Mapping[str, Callable[[Measured], Finding]] = {
    "beta": beta.find,
    "shuffle_width": shuffle_width.find,
    "initialization": initialization.find,
    "normalization": normalization.find,
    "epochs": epochs.find,
    "ensemble_size": ensemble_size.find,
    "distillation": distillation.find,
    "how_many_models": how_many_models.find,
    "asynchrony": asynchrony.find,
}
"""The experiments in the order of the document."""


def write_document(sweeps: Mapping[str, SweepResults], path: Path) -> list[Path]:
    """Write what the sweeps of all ``FINDERS`` found to ``path``; return all files written.

    Figures go to a folder beside it that has its name without the suffix.

    Raises:
        ResultsError: trials are missing, or an arm that a finding reads is not there.
    """
    findings = {}
    for name, find in FINDERS.items():
        with styled():
            findings[name] = find(measured(sweeps[name]))
    baseline = sweeps["beta"].baseline
    figures = path.with_suffix("")
    written = [save_png(figures, name, found.figure) for name, found in findings.items()]
    preface = _preface(baseline, _provenance(sweeps))
    text = "\n".join([preface, _in_short(findings), *_sections(findings, figures.name)])
    return [write_whole(path, partial(Path.write_text, data=text, encoding="utf-8")), *written]


def _preface(baseline: ArmResults, trained_by: str) -> str:
    evaluation = baseline.read_predictions()
    return f"""# Findings

Made by `make findings` from the experiments named below; every number, and every verdict that says
whether a number is higher, lower or not told apart, comes from the run. The prose around it is the
same whatever comes out. A verdict for or against the paper asks whether SmeLU's PD is lower.

All train on MovieLens-100K (943 users rate 1,682 films; a rating of 4 or 5 is a click) in one pass
over a stream shuffled within a window of 2,000, unless the condition says otherwise: three hidden
layers of 64, 32 and 16 with layer normalisation, embeddings of 24, batches of 128, Adagrad. Nothing
was tuned for an outcome. The split is by time, and models are evaluated on its last part:
{len(evaluation.labels):,} examples of {len(set(evaluation.group.tolist()))} users.

Intervals are 95 %, over users and over replicas at once, and paired where arms are compared; each
holds for one comparison, so that among twenty comparisons without a difference one is expected to
look like one. In tables **bold** means that the interval leaves "no difference" out. PD is the
relative prediction difference; log loss is in nats. One small data set and one small network: what
holds here need not hold elsewhere, and what does not show here may.

{trained_by}
"""


def _provenance(sweeps: Mapping[str, SweepResults]) -> str:
    """Say what the experiments were trained by: more than one code, where they were run apart."""
    experiments: dict[str, list[str]] = {}
    for name in FINDERS:
        trained_by = _trained_by(sweeps[name].baseline.done[0].directory)
        experiments.setdefault(trained_by, []).append(f"`{name}`")
    if len(experiments) == 1:
        return f"Trained by {next(iter(experiments))}."
    apart = "; ".join(f"{', '.join(names)} by {by}" for by, names in experiments.items())
    return f"Trained apart: {apart}."


def _trained_by(trial: Path) -> str:
    path = trial / "provenance.json"
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        machine = told["machine"]
        return (
            f"Soloist {told['soloist']} (code {told['code']}), PyTorch "
            f"{told['libraries']['torch']}, on {machine['device']} ({machine['processor']})"
        )
    except (OSError, ValueError, KeyError) as error:
        raise ResultsError(
            f"{path}: {type(error).__name__} {error}, expected what a trial writes"
        ) from None


def _in_short(findings: Mapping[str, Finding]) -> str:
    lines = [
        f"- [{each.title}](#{_anchor(each.title)}) {each.verdict}" for each in findings.values()
    ]
    return "## In short\n\n" + "\n".join(lines) + "\n"


def _sections(findings: Mapping[str, Finding], folder: str) -> list[str]:
    return [
        f"""## {each.title}

Experiment `{name}`. {each.question}

{each.table.markdown()}

![{each.caption}]({folder}/{name}.png)

*{each.caption}*

{each.verdict}

{_bullets(each.reading)}
"""
        for name, each in findings.items()
    ]


def _bullets(paragraphs: tuple[str, ...]) -> str:
    return "\n".join(f"- {each}" for each in paragraphs)


def _anchor(title: str) -> str:
    """Return the name that a heading of Markdown is linked by."""
    kept = "".join(each for each in title.lower() if each.isalnum() or each in " -_")
    return kept.replace(" ", "-")
